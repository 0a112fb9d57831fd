// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
)

// read streams the chunks of the series that match: Prometheus' remote read, in which the chunks are not
// cut to the range, with the local start in a header and the number of frames in a trailer.
func (h *peerHandler) read(w http.ResponseWriter, r *http.Request, tenant string) error {
	query, hints, err := decodeRead(r)
	if err != nil {
		return badRequest(err)
	}
	matchers, err := remote.FromLabelMatchers(query.Matchers)
	if err != nil {
		return badRequest(err)
	}
	flusher, ok := w.(http.Flusher)
	if !ok {
		return errors.New("this connection cannot stream")
	}
	cq, err := h.cfg.Local.ChunkQuerier(tenant, query.StartTimestampMs, query.EndTimestampMs)
	if err != nil {
		return unavailable(err)
	}
	defer cq.Close() // Reading is over; there is nothing to lose.
	h.setLocalStart(w, tenant)
	w.Header().Set("Content-Type", "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse")
	w.Header().Set("Trailer", trailerFrames)
	w.Header().Add("Trailer", trailerLacks)

	frames := h.writers.Get().(*frameWriter)
	defer h.writers.Put(frames)
	frames.reset(w)
	part := *hints
	if hints.ShardCount > 1 {
		hints.Limit = 0 // It is on the part.
	}
	hints.ShardIndex, hints.ShardCount = 0, 0
	set := newLimitedSet(newShardSet(cq.Select(r.Context(), !r.URL.Query().Has(formUnsorted), hints, matchers...), &part), part.Limit)
	if err := frames.writeAll(set); err != nil {
		if frames.frames > 0 {
			return errors.Join(errAborted, err)
		}
		w.Header().Del("Trailer")
		return err
	}
	flusher.Flush() // So that an answer without frames is chunked too, and can have a trailer.
	w.Header().Set(trailerFrames, strconv.Itoa(frames.frames))
	if self, lacking := h.lacksNow(); lacking {
		w.Header().Set(trailerLacks, url.QueryEscape(self.lacks))
	}
	return nil
}

// decodeRead decodes a read request of one query.
func decodeRead(r *http.Request) (*prompb.Query, *storage.SelectHints, error) {
	req, err := remote.DecodeReadRequest(r)
	if err != nil {
		return nil, nil, fmt.Errorf("decode read request: %w", err)
	}
	if len(req.Queries) != 1 || !slices.Contains(req.AcceptedResponseTypes, prompb.ReadRequest_STREAMED_XOR_CHUNKS) {
		return nil, nil, errors.New("a read between members is one query for streamed chunks")
	}
	query := req.Queries[0]
	hints := &storage.SelectHints{Start: query.StartTimestampMs, End: query.EndTimestampMs, DisableTrimming: true}
	if q := query.Hints; q != nil {
		hints.Step, hints.Func, hints.Range = q.StepMs, q.Func, q.RangeMs
		hints.Grouping, hints.By = q.Grouping, q.By
	}
	if s := r.URL.Query().Get("limit"); s != "" {
		if hints.Limit, err = strconv.Atoi(s); err != nil || hints.Limit < 0 {
			return nil, nil, errors.New("limit is not a number of series")
		}
	}
	if err := parseShard(r.URL.Query(), hints); err != nil {
		return nil, nil, err
	}
	return query, hints, nil
}

// limitedSet ends after a number of series: a TSDB takes the limit as advice.
type limitedSet struct {
	storage.ChunkSeriesSet
	left int
}

func newLimitedSet(set storage.ChunkSeriesSet, limit int) storage.ChunkSeriesSet {
	if limit == 0 {
		return set
	}
	return &limitedSet{set, limit}
}

// Next moves to the next series.
func (l *limitedSet) Next() bool {
	l.left--
	return l.left >= 0 && l.ChunkSeriesSet.Next()
}
