// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// The scanner is compared with the generated decoders: what both accept must be the
// same series and samples, and what one refuses the other must refuse, save for the
// few things that the scanner is stricter about on purpose.

// stricter tells whether the scanner refuses what the generated code lets through.
func stricter(err error) bool {
	var large *tooLargeError
	var over *limitError
	for _, e := range []error{errGroupDepth, errPackedSplit, errMismatch, errFirstSymbol} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, &large) || errors.As(err, &over)
}

func scanned(t *testing.T, body []byte, proto protocol) (*Batch, error) {
	t.Helper()
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get(testTenant)
	scan := b.scanV1
	if proto == protoV2 {
		scan = b.scanV2
	}
	if err := scan(body); err != nil {
		return b, err
	}
	// The structure of labels is checked where they are decoded.
	for i := range b.series {
		if b.series[i].refused {
			continue
		}
		if _, err := b.decoder.read(b.labelBytesOf(&b.series[i], nil), math.MaxInt); err != nil {
			return b, err
		}
	}
	return b, nil
}

func rawLabels(t *testing.T, raw []byte) [][2]string {
	t.Helper()
	var out [][2]string
	for c := (cursor{b: raw}); !c.done(); {
		_, _, err := c.tag()
		require.NoError(t, err)
		entry, err := c.bytes()
		require.NoError(t, err)
		name, val, err := readLabel(entry)
		require.NoError(t, err)
		out = append(out, [2]string{string(name), string(val)})
	}
	return out
}

func requireSameSamples[S interface {
	GetTimestamp() int64
	GetValue() float64
}](t *testing.T, want []S, got []Sample) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].GetTimestamp(), got[i].T)
		require.Equal(t, math.Float64bits(want[i].GetValue()), math.Float64bits(got[i].V))
	}
}

func requireSameHistogram(t *testing.T, want writev2.Histogram, got histogramView) {
	t.Helper()
	require.Equal(t, want.Timestamp, got.t)
	require.Equal(t, want.StartTimestamp, got.st)
	require.Equal(t, want.IsFloatHistogram(), got.isFloat)
	r := histogramReader{view: &got, fill: true, parts: newHistogramParts(&got)}
	require.NoError(t, r.read())
	// Equals compares bits, but for those of the threshold and of the bounds, and takes
	// nil and empty for the same.
	require.Equal(t, bitsOf(want.ZeroThreshold), bitsOf(r.parts.zeroThreshold))
	require.Equal(t, bitsOf(want.CustomValues...), bitsOf(r.parts.customs...))
	want.ZeroThreshold, r.parts.zeroThreshold = 0, 0
	want.CustomValues, r.parts.customs = nil, nil
	if got.isFloat {
		require.True(t, want.ToFloatHistogram().Equals(r.parts.float()), "%v\n%v", want.ToFloatHistogram(), r.parts.float())
	} else {
		require.True(t, want.ToIntHistogram().Equals(r.parts.integer()), "%v\n%v", want.ToIntHistogram(), r.parts.integer())
	}
	if want.ResetHint >= 0 && want.ResetHint <= 3 {
		require.Equal(t, histogram.CounterResetHint(want.ResetHint), r.parts.hint)
	}
	// Whatever it holds, decoding it ends, with a value or an error.
	_, _, _ = got.decode()
}

func bitsOf(values ...float64) (out []uint64) {
	for _, v := range values {
		out = append(out, math.Float64bits(v))
	}
	return out
}

// asV2 reads a 1.0 histogram by the 2.0 decoder: the two messages share every field.
func asV2(t *testing.T, h *prompb.Histogram) writev2.Histogram {
	t.Helper()
	h.XXX_unrecognized = nil // The start timestamp is an extension of 1.0.
	data, err := h.Marshal()
	require.NoError(t, err)
	var out writev2.Histogram
	require.NoError(t, out.Unmarshal(data))
	out.Sum, out.ZeroThreshold = h.Sum, h.ZeroThreshold // Marshal takes -0 for nothing.
	return out
}

func requireSameV1(t *testing.T, b *Batch, want *prompb.TimeSeries, got *Series) {
	t.Helper()
	var labels [][2]string
	for _, l := range want.Labels {
		labels = append(labels, [2]string{l.Name, l.Value})
	}
	require.Equal(t, labels, rawLabels(t, b.labelBytesOf(got, nil)))
	samples := make([]*prompb.Sample, len(want.Samples))
	for i := range samples {
		samples[i] = &want.Samples[i]
	}
	requireSameSamples(t, samples, b.samplesOf(got))
	require.Len(t, b.histogramsOf(got), len(want.Histograms))
	for i := range want.Histograms {
		h := b.histogramsOf(got)[i]
		h.st = 0
		requireSameHistogram(t, asV2(t, &want.Histograms[i]), h)
	}
	require.Len(t, b.exemplarsOf(got), len(want.Exemplars))
	for i, e := range want.Exemplars {
		v, ts, err := walkExemplar(b.exemplarsOf(got)[i], nil)
		require.NoError(t, err)
		require.Equal(t, e.Timestamp, ts)
		require.Equal(t, math.Float64bits(e.Value), math.Float64bits(v))
	}
}

// checkV1 compares the scanner with prompb on one body.
func checkV1(t *testing.T, body []byte) {
	var want prompb.WriteRequest
	wantErr := want.Unmarshal(body)
	b, err := scanned(t, body, protoV1)
	if err != nil {
		if wantErr == nil && !stricter(err) {
			t.Fatalf("scanner refuses %x (%v), prompb does not", body, err)
		}
		return
	}
	require.NoError(t, wantErr, "scanner accepts %x", body)
	require.Len(t, b.series, len(want.Timeseries))
	for i := range want.Timeseries {
		s := &b.series[i]
		requireSameV1(t, b, &want.Timeseries[i], s)
		// What a peer would get is the same series again.
		var again prompb.TimeSeries
		require.NoError(t, again.Unmarshal(b.rawOf(s)))
		again = prompb.TimeSeries{}
		require.NoError(t, again.Unmarshal(b.appendSeries(nil, s)))
		requireSameV1(t, b, &again, s)
	}
	_ = b.validate(anyTime()) // Must not panic.
}

func checkV2(t *testing.T, body []byte) {
	var want writev2.Request
	wantErr := want.Unmarshal(body)
	b, err := scanned(t, body, protoV2)
	if err != nil {
		if wantErr == nil && !stricter(err) {
			t.Fatalf("scanner refuses %x (%v), writev2 does not", body, err)
		}
		return
	}
	require.NoError(t, wantErr, "scanner accepts %x", body)
	require.Len(t, b.series, len(want.Timeseries))
	for i := range want.Timeseries {
		requireSameV2(t, b, &want, &want.Timeseries[i], &b.series[i])
	}
	_ = b.validate(anyTime())
}

func requireSameV2(t *testing.T, b *Batch, req *writev2.Request, want *writev2.TimeSeries, got *Series) {
	t.Helper()
	samples := make([]*writev2.Sample, len(want.Samples))
	for i := range samples {
		samples[i] = &want.Samples[i]
		require.Equal(t, want.Samples[i].StartTimestamp, b.samplesOf(got)[i].ST)
	}
	requireSameSamples(t, samples, b.samplesOf(got))
	require.Len(t, b.histogramsOf(got), len(want.Histograms))
	for i := range want.Histograms {
		requireSameHistogram(t, want.Histograms[i], b.histogramsOf(got)[i])
	}

	legal := len(want.LabelsRefs)%2 == 0
	for _, ref := range want.LabelsRefs {
		legal = legal && int(ref) < len(req.Symbols)
	}
	if !legal {
		require.True(t, got.refused)
	}
	if got.refused {
		return
	}
	var labels [][2]string
	for i := 0; i < len(want.LabelsRefs); i += 2 {
		labels = append(labels, [2]string{req.Symbols[want.LabelsRefs[i]], req.Symbols[want.LabelsRefs[i+1]]})
	}
	require.Equal(t, labels, rawLabels(t, b.labelBytesOf(got, nil)))
	// The written-out bytes are a 1.0 series with the same content.
	var v1 prompb.TimeSeries
	require.NoError(t, v1.Unmarshal(b.appendSeries(nil, got)))
	requireSameV1(t, b, &v1, got)
}

func FuzzScanV1(f *testing.F) {
	for _, body := range seedsV1(f) {
		f.Add(body)
	}
	f.Fuzz(checkV1)
}

func FuzzScanV2(f *testing.F) {
	for _, body := range seedsV2(f) {
		f.Add(body)
	}
	f.Fuzz(checkV2)
}

// TestScanDamagedBodies cuts and flips every byte of legal bodies: a fixed part of
// what the fuzz targets do, for every run of the tests.
func TestScanDamagedBodies(t *testing.T) {
	t.Parallel()
	check := func(bodies [][]byte, check func(*testing.T, []byte)) {
		for _, body := range bodies {
			if len(body) > 2000 {
				continue
			}
			for i := range body {
				check(t, body[:i])
				for _, flip := range []byte{0x01, 0x08, 0x80, 0xff} {
					damaged := append([]byte(nil), body...)
					damaged[i] ^= flip
					check(t, damaged)
				}
			}
		}
	}
	check(seedsV1(t), checkV1)
	check(seedsV2(t), checkV2)
}

func seedsV1(t testing.TB) [][]byte {
	t.Helper()
	full := &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{
				Labels:  labelsV1("__name__", "up", "job", "a", "z", ""),
				Samples: []prompb.Sample{{Timestamp: 1, Value: 2}, {Timestamp: -5, Value: staleNaN()}, {Value: math.Copysign(0, -1)}},
				Exemplars: []prompb.Exemplar{
					{Labels: labelsV1("trace_id", "abc"), Value: 1.5, Timestamp: 7}, {Timestamp: 9},
				},
			},
			{Labels: labelsV1("__name__", "h"), Histograms: []prompb.Histogram{
				prompb.FromIntHistogram(10, intHistogram()),
				prompb.FromFloatHistogram(11, intHistogram().ToFloat(nil)),
				prompb.FromIntHistogram(12, customHistogram()),
			}},
		},
		Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "up", Help: "help", Unit: "s"}},
	}
	data, err := full.Marshal()
	require.NoError(t, err)
	return append([][]byte{data, twoKinds(t, fieldV1Series, fieldHistograms), {}}, hostileMessages()...)
}

// twoKinds is a request with histograms that are of both kinds; of a oneof, the last
// one counts.
func twoKinds(t testing.TB, seriesField, histogramField int) []byte {
	t.Helper()
	ih, fh := prompb.FromIntHistogram(10, intHistogram()), prompb.FromFloatHistogram(11, intHistogram().ToFloat(nil))
	ints, err := ih.Marshal()
	require.NoError(t, err)
	floats, err := fh.Marshal()
	require.NoError(t, err)
	var series []byte
	series = appendEntry(series, histogramField, slices.Concat(ints, floats))
	series = appendEntry(series, histogramField, slices.Concat(floats, ints))
	return appendEntry(nil, seriesField, series)
}

func seedsV2(t testing.TB) [][]byte {
	t.Helper()
	full := &writev2.Request{
		Symbols: []string{"", "__name__", "up", "job", "a", "trace_id", "abc", "help", "s"},
		Timeseries: []writev2.TimeSeries{
			{
				LabelsRefs: []uint32{1, 2, 3, 4},
				Samples:    []writev2.Sample{{Timestamp: 1, Value: 2, StartTimestamp: 3}, {Timestamp: -5, Value: staleNaN()}},
				Exemplars:  []writev2.Exemplar{{LabelsRefs: []uint32{5, 6}, Value: 1.5, Timestamp: 7}, {LabelsRefs: []uint32{5}}},
				Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: 7, UnitRef: 8},
			},
			{LabelsRefs: []uint32{1, 2}, Histograms: []writev2.Histogram{
				writev2.FromIntHistogram(5, 10, intHistogram()),
				writev2.FromFloatHistogram(0, 11, intHistogram().ToFloat(nil)),
				writev2.FromIntHistogram(0, 12, customHistogram()),
			}},
			{LabelsRefs: []uint32{1, 99}, Samples: []writev2.Sample{{Timestamp: 1}}},
		},
	}
	data, err := full.Marshal()
	require.NoError(t, err)
	return append([][]byte{data, twoKinds(t, fieldV2Series, fieldV2Histograms), {}}, hostileMessages()...)
}

// hostileMessages are bodies that a length, a depth or a type is wrong in.
func hostileMessages() [][]byte {
	groups := func(n int) []byte {
		var b []byte
		for range n {
			b = append(b, 7<<3|wireGroup)
		}
		for range n {
			b = append(b, 7<<3|wireEnd)
		}
		return b
	}
	long := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}
	return [][]byte{
		{0x0a},
		append([]byte{0x0a}, long...),
		append([]byte{0x08}, append(long[:9:9], 0xff, 0x01)...),
		{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		{0x0c},
		{0x00},
		{0x0e},
		{0x0f, 0x00},
		groups(3), groups(skipDepthMax), groups(100_000),
		{0x0a, 0x02, 0x08, 0x01},
		{0x2a, 0x02, 0x0a, 0x00},
		{0x22, 0x00},
		{0x22, 0x01, 'a'},
		{0x2a, 0x03, 0x0a, 0x01, 0xff},
	}
}
