// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Protocol is a version of Prometheus remote write.
type Protocol string

// The protocols that a Sender speaks.
const (
	V1 Protocol = "1.0"
	V2 Protocol = "2.0"
)

// headers returns the values of Content-Type and X-Prometheus-Remote-Write-Version.
func (p Protocol) headers() (contentType, version string) {
	if p == V2 {
		return "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"
	}
	return "application/x-protobuf", "0.1.0"
}

// Request is one encoded and compressed remote-write request.
type Request struct {
	Body    []byte
	Samples int // floats and native histograms
}

// Encoder turns samples into requests. It reuses its buffers from one request
// to the next and is not safe for concurrent use; the zero value is not usable.
type Encoder struct {
	protocol Protocol

	v1      prompb.WriteRequest
	v2      writev2.Request
	symbols writev2.SymbolsTable
	raw     []byte
}

// NewEncoder returns an encoder for one protocol.
func NewEncoder(p Protocol) *Encoder {
	return &Encoder{protocol: p, symbols: writev2.NewSymbolTable()}
}

// Encode makes one request of samples. As Prometheus does, it gives every
// sample a TimeSeries of its own. The request does not refer to samples.
func (e *Encoder) Encode(samples []Sample) (Request, error) {
	encode := e.encodeV1
	if e.protocol == V2 {
		encode = e.encodeV2
	}
	if err := encode(samples); err != nil {
		return Request{}, fmt.Errorf("encode %d samples as remote write %s: %w", len(samples), e.protocol, err)
	}
	return Request{Body: snappy.Encode(nil, e.raw), Samples: len(samples)}, nil
}

// Metadata makes a request that carries no sample but the metadata of the
// families. Only remote write 1.0 has such requests; 2.0 puts the metadata
// beside each series, so ok is false.
func (e *Encoder) Metadata(families []*Family) (r Request, ok bool, err error) {
	if e.protocol == V2 {
		return Request{}, false, nil
	}
	var w prompb.WriteRequest
	for _, f := range families {
		w.Metadata = append(w.Metadata, prompb.MetricMetadata{
			Type:             prompb.FromMetadataType(f.Type),
			MetricFamilyName: f.Name,
			Help:             f.Help,
		})
	}
	raw, err := w.Marshal()
	if err != nil {
		return Request{}, false, fmt.Errorf("encode metadata: %w", err)
	}
	return Request{Body: snappy.Encode(nil, raw)}, true, nil
}

func (e *Encoder) encodeV1(samples []Sample) error {
	e.v1.Timeseries = e.v1.Timeseries[:0]
	for i := range samples {
		s := &samples[i]
		ts := prompb.TimeSeries{Labels: prompb.FromLabels(s.Series.Labels, make([]prompb.Label, 0, s.Series.Labels.Len()))}
		if s.H != nil {
			ts.Histograms = []prompb.Histogram{prompb.FromIntHistogram(s.T, s.H)}
		} else {
			ts.Samples = []prompb.Sample{{Timestamp: s.T, Value: s.V}}
		}
		e.v1.Timeseries = append(e.v1.Timeseries, ts)
	}
	e.raw = grow(e.raw, e.v1.Size())
	_, err := e.v1.MarshalToSizedBuffer(e.raw)
	return err
}

func (e *Encoder) encodeV2(samples []Sample) error {
	e.v2.Timeseries = e.v2.Timeseries[:0]
	e.symbols.Reset()
	for i := range samples {
		s := &samples[i]
		ts := writev2.TimeSeries{
			LabelsRefs: e.symbols.SymbolizeLabels(s.Series.Labels, make([]uint32, 0, 2*s.Series.Labels.Len())),
			Metadata: writev2.Metadata{
				Type:    writev2.FromMetadataType(s.Series.Family.Type),
				HelpRef: e.symbols.Symbolize(s.Series.Family.Help),
			},
		}
		if s.H != nil {
			ts.Histograms = []writev2.Histogram{writev2.FromIntHistogram(0, s.T, s.H)}
		} else {
			ts.Samples = []writev2.Sample{{Timestamp: s.T, Value: s.V}}
		}
		e.v2.Timeseries = append(e.v2.Timeseries, ts)
	}
	e.v2.Symbols = e.symbols.Symbols()
	var err error
	e.raw, err = e.v2.OptimizedMarshal(e.raw[:0])
	return err
}

// grow returns a buffer of exactly n bytes, b itself where it is large enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
