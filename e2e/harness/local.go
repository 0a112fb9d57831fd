// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/golang/snappy"
	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/jsonutil"

	"github.com/penstock-io/penstock/ring"
)

// LocalExport reads what this one node keeps itself of all series with a label value, in (from, to]: the way another
// member would ask for it, signed with the cluster key, which reaches neither the other members nor the bucket.
func (n *Node) LocalExport(label, labelValue string, from, to time.Time) (Matrix, error) {
	mint, maxt := from.UnixMilli()+1, to.UnixMilli()
	body, err := n.readLocal(&prompb.ReadRequest{
		Queries: []*prompb.Query{{
			StartTimestampMs: mint, EndTimestampMs: maxt,
			Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_EQ, Name: label, Value: labelValue}},
		}},
		AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS},
	})
	if err != nil {
		return nil, fmt.Errorf("read what %s keeps: %w", n.Name, err)
	}
	defer body.Close()
	out := Matrix{}
	stream := remote.NewChunkedReader(body, config.DefaultChunkedReadLimit, nil)
	for {
		var frame prompb.ChunkedReadResponse
		if err := stream.NextProto(&frame); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what %s keeps: %w", n.Name, err)
		}
		for _, s := range frame.ChunkedSeries {
			if err := out.addChunks(s, mint, maxt); err != nil {
				return nil, fmt.Errorf("read what %s keeps: %w", n.Name, err)
			}
		}
	}
}

// addChunks adds the samples of a series in [mint, maxt], a part of which may be there from the frame before. A selector
// does not return a series of which nothing is left.
func (m Matrix) addChunks(series *prompb.ChunkedSeries, mint, maxt int64) error {
	lset := map[string]string{}
	for _, l := range series.Labels {
		lset[l.Name] = l.Value
	}
	s := m[labelKey(lset)]
	s.Labels = lset
	for _, c := range series.Chunks {
		chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data) //nolint:gosec // The encodings have small numbers.
		if err != nil {
			return err
		}
		if err := s.fill(chunk.Iterator(nil), mint, maxt); err != nil {
			return err
		}
	}
	if len(s.Floats)+len(s.Histograms) > 0 {
		m[labelKey(lset)] = s
	}
	return nil
}

// readLocal sends a remote read as another member would, and returns the body of the answer.
func (n *Node) readLocal(question *prompb.ReadRequest) (io.ReadCloser, error) {
	raw, err := os.ReadFile(n.keyFile)
	if err != nil {
		return nil, err
	}
	key, err := ring.ParseKey(raw)
	if err != nil {
		return nil, err
	}
	message, err := question.Marshal()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+n.internal+"/internal/v1/read", bytes.NewReader(snappy.Encode(nil, message)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	client := &http.Client{Timeout: requestTimeout, Transport: memberHeaders{ring.NewAuth(key, n.Name, nil).RoundTripper(http.DefaultTransport)}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // Whatever came of it is good enough for a message.
		return nil, fmt.Errorf("it answers %d: %s", resp.StatusCode, said)
	}
	return resp.Body, nil
}

// memberHeaders makes a remote read that of a member; querier/docs/format/read.md says what it has to carry.
type memberHeaders struct{ next http.RoundTripper }

func (m memberHeaders) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("X-Penstock-Protocol", "1")
	req.Header.Set("X-Scope-OrgID", "default-tenant")
	return m.next.RoundTrip(req)
}

// fill adds the samples in [mint, maxt] in the form in which the HTTP API prints them, without stale markers, as a
// selector returns them.
func (s *Series) fill(it chunkenc.Iterator, mint, maxt int64) error {
	for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
		ts := it.AtT()
		if ts < mint || ts > maxt {
			continue
		}
		stream := jsoniter.NewStream(jsoniter.ConfigDefault, nil, 0)
		stream.WriteArrayStart()
		jsonutil.MarshalTimestamp(ts, stream)
		stream.WriteMore()
		if vt == chunkenc.ValFloat {
			_, v := it.At()
			if value.IsStaleNaN(v) {
				continue
			}
			jsonutil.MarshalFloat(v, stream)
			stream.WriteArrayEnd()
			s.Floats = append(s.Floats, string(stream.Buffer()))
			continue
		}
		_, h := it.AtFloatHistogram(nil)
		if value.IsStaleNaN(h.Sum) {
			continue
		}
		jsonutil.MarshalHistogram(h, stream)
		stream.WriteArrayEnd()
		s.Histograms = append(s.Histograms, string(stream.Buffer()))
	}
	return it.Err()
}
