// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	jsoniter "github.com/json-iterator/go"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
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
	client, err := n.readClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	mint, maxt := from.UnixMilli()+1, to.UnixMilli()
	set, err := client.Read(ctx, &prompb.Query{
		StartTimestampMs: mint, EndTimestampMs: maxt,
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_EQ, Name: label, Value: labelValue}},
	}, true)
	if err != nil {
		return nil, fmt.Errorf("read what %s keeps: %w", n.Name, err)
	}
	out := Matrix{}
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		labels := set.At().Labels().Map()
		// A long series comes in several frames, each of which the client takes for a series.
		s := out[labelKey(labels)]
		s.Labels = labels
		if err := s.fill(it, mint, maxt); err != nil {
			return nil, err
		}
		// A selector does not return a series of which nothing is left.
		if len(s.Floats)+len(s.Histograms) > 0 {
			out[labelKey(labels)] = s
		}
	}
	return out, set.Err()
}

func (n *Node) readClient() (remote.ReadClient, error) {
	raw, err := os.ReadFile(n.keyFile)
	if err != nil {
		return nil, err
	}
	key, err := ring.ParseKey(raw)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse("http://" + n.internal + "/internal/v1/read")
	if err != nil {
		return nil, err
	}
	client, err := remote.NewReadClient(n.Name, &remote.ClientConfig{
		URL:              &config_util.URL{URL: u},
		Timeout:          model.Duration(requestTimeout),
		ChunkedReadLimit: config.DefaultChunkedReadLimit,
	})
	if err != nil {
		return nil, err
	}
	httpClient := client.(*remote.Client).Client
	httpClient.Transport = memberHeaders{ring.NewAuth(key, n.Name, nil).RoundTripper(httpClient.Transport)}
	return client, nil
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
