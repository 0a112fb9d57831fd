// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// read asks a peer for the chunks of all series that match, and reads the answer to
// its end before it returns. Only then it is known whether the peer counts as present
// or as missing; a stream merged while it still flows could break after its first series are in the result.
// The price is memory, bounded by Config.MaxPeerBytes a peer.
func (p *peers) read(ctx context.Context, m Member, r span, sorted bool, hints *storage.SelectHints, matchers []*labels.Matcher) (storage.ChunkSeriesSet, said, error) {
	query, err := remote.ToQuery(r.mint, r.maxt, matchers, hints)
	if err != nil {
		return nil, said{}, fmt.Errorf("encode query: %w", err)
	}
	msg := prompb.ReadRequest{
		Queries:               []*prompb.Query{query},
		AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS},
	}
	raw, err := msg.Marshal()
	if err != nil {
		return nil, said{}, fmt.Errorf("encode query: %w", err)
	}
	req := request{operation: opRead, path: opRead, contentType: "application/x-protobuf", body: string(snappy.Encode(nil, raw))}
	if form := readForm(sorted, hints); len(form) > 0 {
		req.path += "?" + form.Encode()
	}
	var set *bufferedSet
	lacks := ""
	s, err := p.ask(ctx, m, req, func(resp *http.Response, body io.Reader) error {
		whole := newTurnReader(ctx, body, p.turn)
		defer whole.close()
		set, err = readFrames(whole, sorted)
		if err != nil {
			return err
		}
		if lacks, err = url.QueryUnescape(resp.Trailer.Get(trailerLacks)); err != nil {
			return errTestimony
		}
		return checkTrailer(resp, set.frames)
	})
	if err != nil {
		if set != nil {
			_ = set.release() // Nothing fails.
		}
		return nil, said{}, err
	}
	s.self.lacks = cmp.Or(s.self.lacks, lacks)
	return set, s, nil
}

// readForm is what Prometheus' message has no field for.
func readForm(sorted bool, hints *storage.SelectHints) url.Values {
	form := url.Values{}
	if !sorted {
		form.Set(formUnsorted, "1")
	}
	if hints == nil {
		return form
	}
	if hints.Limit > 0 {
		form.Set("limit", strconv.Itoa(hints.Limit))
	}
	shardForm(form, hints)
	return form
}

// checkTrailer makes sure that the sender said "this is all", and of as many frames as arrived.
func checkTrailer(resp *http.Response, frames int) error {
	said := resp.Trailer.Get(trailerFrames)
	if said != strconv.Itoa(frames) {
		return fmt.Errorf("the stream was cut: %d frames arrived, the end says %q", frames, said)
	}
	return nil
}

// bufferedSet is a peer's answer in memory, a sorted storage.ChunkSeriesSet.
type bufferedSet struct {
	series []bufferedSeries
	frames int
	sorted bool  // It must be.
	newest int64 // No chunk ends later.
	memory frameMemory
	list   *[]bufferedSeries // Where series came from, and go back to.
	next   int
}

// add takes over the chunks.
func (s *bufferedSet) add(lset labels.Labels, found []chunks.Meta) error {
	cmp := 1
	if n := len(s.series); n > 0 {
		cmp = labels.Compare(lset, s.series[n-1].lset)
	}
	switch {
	case cmp < 0 && s.sorted:
		return fmt.Errorf("series %s is out of order", lset)
	case cmp != 0:
		s.series = append(s.series, bufferedSeries{lset: lset, chunks: found})
	default:
		current := &s.series[len(s.series)-1]
		current.chunks = append(current.chunks, found...)
	}
	return nil
}

// addWire is add for a set in no order, with the labels as they are in a message.
func (s *bufferedSet) addWire(wire []byte, found []chunks.Meta) {
	if n := len(s.series); n > 0 && bytes.Equal(s.series[n-1].wire, wire) {
		s.series[n-1].chunks = append(s.series[n-1].chunks, found...)
		return
	}
	if len(s.series) == cap(s.series) { // Append alone would make garbage of four times as many.
		s.series = slices.Grow(s.series, max(seriesAtLeast, len(s.series)))
	}
	s.series = append(s.series, bufferedSeries{wire: wire, chunks: found})
}
