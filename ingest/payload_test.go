// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// describeAll is what an owner gets to see of a batch.
func describeAll(b *Batch) (out []string) {
	d := newLabelDecoder()
	for _, i := range b.valid {
		s := &b.series[i]
		line := fmt.Sprint(b.labelsOf(s, &d), b.samplesOf(s))
		for _, h := range b.histogramsOf(s) {
			ih, fh, err := h.decode()
			line += fmt.Sprint(" ", h.t, h.st, ih, fh, err)
		}
		for _, e := range b.exemplarsOf(s) {
			ex, err := d.decodeExemplar(e)
			line += fmt.Sprint(" ", ex, err)
		}
		out = append(out, line)
	}
	return out
}

// TestSubsetsOfEitherVersionAreTheSame takes random parts of a 2.0 request in 1.0 and in
// 2.0 and finds the same series in both.
func TestSubsetsOfEitherVersionAreTheSame(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	now := nowMillis()
	var series []prompb.TimeSeries
	for i := range 40 {
		s := seriesV1(now, float64(i), "__name__", fmt.Sprint("s", i%7), "a", fmt.Sprint(i))
		s.Exemplars = []prompb.Exemplar{{Labels: labelsV1("trace_id", fmt.Sprint(i)), Value: 1, Timestamp: now}}
		if i%5 == 0 {
			s.Samples = nil
			s.Histograms = []prompb.Histogram{prompb.FromIntHistogram(now, intHistogram())}
		}
		series = append(series, s)
	}
	limits := Limits{}.withDefaults()
	sender := batchPool{limits: limits, cache: NewSeriesCache(CacheConfig{}, nil)}
	owner := batchPool{limits: limits.between()}
	received := func(load payload) *Batch {
		b := owner.get(testTenant)
		var err error
		b.bodyBuf, err = snappy.Decode(nil, load.body)
		require.NoError(t, err)
		require.NoError(t, b.parse(load.proto, anyTime()))
		return b
	}
	body := encodeV2(t, toV2(series))
	for range 200 { // From the second on the cache knows some of them.
		b := sender.get(testTenant)
		b.wireBuf = append(b.wireBuf, body...)
		var err error
		b.bodyBuf, err = snappy.Decode(nil, body)
		require.NoError(t, err)
		require.NoError(t, b.parse(protoV2, anyTime()))
		var part []uint32
		for i := range uint32(len(series)) {
			if rnd.IntN(4) > 0 {
				part = append(part, i)
			}
		}
		pl := payloads{batch: b}
		v2, v1 := pl.of(part), payload{pl.v1(part), protoV1}
		want := protoV1
		if len(part)*subsetInV2Min >= len(series) {
			want = protoV2
		}
		require.Equal(t, want, v2.proto)
		require.Equal(t, describeAll(received(v1)), describeAll(received(v2)))
		b.release()
		if rnd.IntN(10) == 0 {
			sender.cache = NewSeriesCache(CacheConfig{}, nil)
		}
	}
}

// TestRefusedSeriesAreNotForwarded: a 2.0 request of which something was refused is
// written out in 1.0 without it.
func TestRefusedSeriesAreNotForwarded(t *testing.T) {
	t.Parallel()
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get(testTenant)
	var err error
	b.bodyBuf, err = toV2([]prompb.TimeSeries{
		seriesV1(5, 1, "__name__", "a"), seriesV1(50, 1, "__name__", "late"), seriesV1(5, 1, "__name__", "b"),
	}).Marshal()
	require.NoError(t, err)
	require.NoError(t, b.parse(protoV2, timeBounds{0, 10}))
	pl := payloads{batch: b}
	load := pl.of(b.valid)
	require.Equal(t, protoV1, load.proto)
	raw, err := snappy.Decode(nil, load.body)
	require.NoError(t, err)
	var got prompb.WriteRequest
	require.NoError(t, got.Unmarshal(raw))
	require.Equal(t, []prompb.TimeSeries{seriesV1(5, 1, "__name__", "a"), seriesV1(5, 1, "__name__", "b")}, got.Timeseries)
}
