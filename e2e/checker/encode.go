// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"net/http"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// request is one tick of one shard as it is sent, every time the same bytes. Shards take turns in the two protocols.
func (p Plan) request(shard, tick int) (http.Header, []byte, error) {
	var raw []byte
	var err error
	contentType, version := "application/x-protobuf", "0.1.0"
	if shard%2 == 0 {
		raw, err = p.v1(shard, tick)
	} else {
		contentType, version = "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"
		raw, err = p.v2(shard, tick)
	}
	if err != nil {
		return nil, nil, err
	}
	return http.Header{
		"Content-Type":                      {contentType},
		"Content-Encoding":                  {"snappy"},
		"X-Prometheus-Remote-Write-Version": {version},
		"User-Agent":                        {"penstock-e2e-checker"},
	}, snappy.Encode(nil, raw), nil
}

func (p Plan) v1(shard, tick int) ([]byte, error) {
	var req prompb.WriteRequest
	for series := range p.Series {
		ts := prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: p.Time(tick), Value: p.Value(shard, series, tick)}}}
		for _, pair := range p.labels(shard, series) {
			ts.Labels = append(ts.Labels, prompb.Label{Name: pair[0], Value: pair[1]})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	return req.Marshal()
}

func (p Plan) v2(shard, tick int) ([]byte, error) {
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for series := range p.Series {
		ts := writev2.TimeSeries{Samples: []writev2.Sample{{Timestamp: p.Time(tick), Value: p.Value(shard, series, tick)}}}
		for _, pair := range p.labels(shard, series) {
			ts.LabelsRefs = append(ts.LabelsRefs, symbols.Symbolize(pair[0]), symbols.Symbolize(pair[1]))
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = symbols.Symbols()
	return req.Marshal()
}
