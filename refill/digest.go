// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Digest stands for a set of samples: two sets with equal digests are equal, but for
// an accident of 1 in 2^64. The order of series, chunks and samples does not
// matter, nor how samples are put into chunks.
type Digest struct {
	Series, Samples uint64
	// Sum and Xor combine the hashes of all samples.
	Sum, Xor uint64
}

// String returns the digest as people compare it.
func (d Digest) String() string {
	return fmt.Sprintf("%d series, %d samples, %016x%016x", d.Series, d.Samples, d.Sum, d.Xor)
}

// digester adds up the samples of series. The zero value is ready. It reuses memory between
// samples and is not safe for concurrent use.
type digester struct {
	Digest
	series uint64 // Hash of the labels of the current series.
	buf    []byte
	it     chunkenc.Iterator
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
}

// extent is what was found in a chunk.
type extent struct {
	mint, maxt int64
	samples    uint64
	histograms uint64
}

// begin goes on to the next series.
func (d *digester) begin(lset labels.Labels) {
	d.Series++
	d.series = labels.StableHash(lset)
}

// chunk adds all samples of a chunk, which must be in order.
func (d *digester) chunk(c chunkenc.Chunk) (extent, error) {
	d.it = c.Iterator(d.it)
	e := extent{mint: math.MaxInt64, maxt: math.MinInt64}
	for kind := d.it.Next(); kind != chunkenc.ValNone; kind = d.it.Next() {
		t := d.it.AtT()
		if t <= e.maxt {
			return e, fmt.Errorf("sample at %d follows one at %d", t, e.maxt)
		}
		e.mint, e.maxt = min(e.mint, t), t
		e.samples++
		if kind != chunkenc.ValFloat {
			e.histograms++
		}
		d.add(kind, t)
	}
	return e, d.it.Err()
}

func (d *digester) add(kind chunkenc.ValueType, t int64) {
	b := binary.LittleEndian.AppendUint64(d.buf[:0], d.series)
	b = binary.LittleEndian.AppendUint64(b, uint64(t))
	b = append(b, byte(kind))
	switch kind {
	case chunkenc.ValHistogram:
		_, d.h = d.it.AtHistogram(d.h)
		b = appendHistogram(b, d.h)
	case chunkenc.ValFloatHistogram:
		_, d.fh = d.it.AtFloatHistogram(d.fh)
		b = appendFloatHistogram(b, d.fh)
	default:
		_, v := d.it.At()
		b = appendFloat(b, v)
	}
	d.buf = b
	h := xxhash.Sum64(b)
	d.Samples++
	d.Sum += h
	d.Xor ^= h
}

// appendHistogram writes out all that a query can see of a histogram. Of the
// counter-reset hint that is whether it is a gauge: the rest depends on how
// samples are put into chunks.
func appendHistogram(b []byte, h *histogram.Histogram) []byte {
	b = appendShape(b, h.CounterResetHint, h.Schema, h.ZeroThreshold, h.Sum, h.CustomValues, h.PositiveSpans, h.NegativeSpans)
	b = binary.LittleEndian.AppendUint64(b, h.ZeroCount)
	b = binary.LittleEndian.AppendUint64(b, h.Count)
	for _, deltas := range [][]int64{h.PositiveBuckets, h.NegativeBuckets} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(deltas)))
		for _, v := range deltas {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

func appendFloatHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	b = appendShape(b, h.CounterResetHint, h.Schema, h.ZeroThreshold, h.Sum, h.CustomValues, h.PositiveSpans, h.NegativeSpans)
	b = appendFloat(b, h.ZeroCount)
	b = appendFloat(b, h.Count)
	for _, buckets := range [][]float64{h.PositiveBuckets, h.NegativeBuckets} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(buckets)))
		for _, v := range buckets {
			b = appendFloat(b, v)
		}
	}
	return b
}

func appendShape(b []byte, hint histogram.CounterResetHint, schema int32, zero, sum float64, custom []float64, spans ...[]histogram.Span) []byte {
	gauge := byte(0)
	if hint == histogram.GaugeType {
		gauge = 1
	}
	b = append(b, gauge)
	b = binary.LittleEndian.AppendUint32(b, uint32(schema))
	b = appendFloat(b, zero)
	b = appendFloat(b, sum)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(custom)))
	for _, v := range custom {
		b = appendFloat(b, v)
	}
	for _, list := range spans {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
		for _, s := range list {
			b = binary.LittleEndian.AppendUint32(b, uint32(s.Offset))
			b = binary.LittleEndian.AppendUint32(b, s.Length)
		}
	}
	return b
}

// appendFloat keeps every bit: a stale marker is a NaN like no other.
func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}
