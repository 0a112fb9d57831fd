// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// histogramKind is what all histograms of a chunk must have in common. Those of one kind can be added.
type histogramKind struct {
	gauge  bool
	custom bool
	bounds []float64 // Of custom buckets.
}

func kindOf(h *histogram.FloatHistogram) histogramKind {
	k := histogramKind{gauge: h.CounterResetHint == histogram.GaugeType, custom: h.UsesCustomBuckets()}
	if k.custom {
		k.bounds = h.CustomValues
	}
	return k
}

func (k histogramKind) equal(other histogramKind) bool {
	return k.gauge == other.gauge && k.custom == other.custom && histogram.CustomBucketBoundsMatch(k.bounds, other.bounds)
}

// histogramReader goes through the histograms of consecutive chunks, integer and float ones alike, without stale markers.
type histogramReader struct {
	chks []chunks.Meta
	it   chunkenc.Iterator
	open bool
	// Both are decoded into again and again.
	cur, prev *histogram.FloatHistogram
	t         int64
	err       error
}

func (r *histogramReader) reset(chks []chunks.Meta) {
	r.chks, r.open, r.err = chks, false, nil
	if r.cur == nil {
		r.cur, r.prev = &histogram.FloatHistogram{}, &histogram.FloatHistogram{}
	}
}

// next moves on; the histogram before is in prev. It is valid until the call after the next.
func (r *histogramReader) next() bool {
	r.cur, r.prev = r.prev, r.cur
	for {
		if !r.open {
			if len(r.chks) == 0 {
				return false
			}
			r.it = r.chks[0].Chunk.Iterator(r.it)
			r.chks, r.open = r.chks[1:], true
		}
		if r.it.Next() == chunkenc.ValNone {
			if r.err = r.it.Err(); r.err != nil {
				return false
			}
			r.open = false
			continue
		}
		t, h, err := floatHistogramAt(r.it, r.cur)
		if err != nil {
			r.err = err
			return false
		}
		if value.IsStaleNaN(h.Sum) {
			continue
		}
		r.t, r.cur = t, h
		return true
	}
}

// histogramInfo is what has to be known of a histogram before those before it are added up.
type histogramInfo struct {
	t      int64
	schema int32
	void   bool // Its sum is not a number, and it is left out.
	begins bool // It is of another kind than the one before.
}

// rawHistograms downsamples consecutive chunks of histograms. It reads them twice: the first time to find out where chunks end
// and which resolution their histograms share, so that no more than one chunk's worth is in memory.
func (w *writer) rawHistograms(chks []chunks.Meta) error {
	var infos []histogramInfo
	var kind histogramKind
	w.hists.reset(chks)
	for w.hists.next() {
		h := w.hists.cur
		info := histogramInfo{t: w.hists.t, schema: h.Schema, void: math.IsNaN(h.Sum)}
		if k := kindOf(h); !info.void && (len(infos) == 0 || !k.equal(kind)) {
			info.begins, kind = true, k
		}
		infos = append(infos, info)
	}
	if w.hists.err != nil {
		return w.hists.err
	}
	w.hists.reset(chks)
	for len(infos) > 0 {
		n := 1
		for n < len(infos) && !infos[n].begins {
			n++
		}
		w.rawHistogramsOfKind(infos[:n])
		infos = infos[n:]
	}
	return w.hists.err
}

// rawHistogramsOfKind is rawFloats for the next histograms of the reader.
func (w *writer) rawHistogramsOfKind(infos []histogramInfo) {
	size := len(infos)/chunkTarget(infos[0].t, infos[len(infos)-1].t, assumedInterval, w.resolution, len(infos)) + 1
	for len(infos) > 0 {
		n := min(size, len(infos))
		for end := windowEnd(infos[n-1].t, w.resolution); n < len(infos) && infos[n].t <= end; {
			n++
		}
		schema := int32(math.MaxInt32)
		for _, info := range infos[:n] {
			if !info.void {
				schema = min(schema, info.schema)
			}
		}
		b := histogramBuilder{w: w, schema: schema}
		for range n {
			if !w.hists.next() {
				return
			}
			if h := w.hists.cur; math.IsNaN(h.Sum) {
				w.hists.cur, w.hists.prev = w.hists.prev, w.hists.cur // As if it had not been there.
			} else {
				b.add(w.hists.t, h, h, w.hists.prev, 1)
			}
		}
		b.finish(w.hists.cur)
		infos = infos[n:]
	}
}

// coarserHistograms makes chunks of consecutive ones of a finer resolution and of one kind: one, if there was no reset.
func (w *writer) coarserHistograms(group []Parts) error {
	b := histogramBuilder{w: w, schema: math.MaxInt32}
	for i := range group {
		for _, a := range []Aggregate{Sum, Counter} {
			h, err := firstHistogram(&group[i], a)
			if err != nil {
				return err
			}
			b.schema = min(b.schema, h.Schema)
		}
	}
	var last *histogram.FloatHistogram
	for i := range group {
		count, err := group[i].need(Count)
		if err != nil {
			return err
		}
		if n := group[i][Counter].NumSamples(); count.NumSamples() != n || group[i][Sum].NumSamples() != n {
			return fmt.Errorf("%w: its aggregates have different numbers of samples", ErrDamaged)
		}
		counts, sums, counters := count.Iterator(nil), group[i][Sum].Iterator(nil), group[i][Counter].Iterator(nil)
		for counters.Next() != chunkenc.ValNone && sums.Next() != chunkenc.ValNone && counts.Next() != chunkenc.ValNone {
			t, counter, err := floatHistogramAt(counters, nil)
			if err != nil {
				return err
			}
			if counts.AtT() != t || sums.AtT() != t {
				return fmt.Errorf("%w: its aggregates are of different times", ErrDamaged)
			}
			_, n := counts.At()
			_, sum, err := floatHistogramAt(sums, nil)
			if err != nil {
				return err
			}
			b.add(t, counter, sum, last, n)
			last = counter.Copy() // The iterator's goes on being its.
		}
		for _, it := range []chunkenc.Iterator{counts, sums, counters} {
			if err := it.Err(); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
		}
	}
	b.finish(last)
	return nil
}

// firstHistogram returns the first histogram of an aggregate. All of a chunk have its schema.
func firstHistogram(p *Parts, a Aggregate) (*histogram.FloatHistogram, error) {
	c, err := p.need(a)
	if err != nil {
		return nil, err
	}
	it := c.Iterator(nil)
	if vt := it.Next(); vt != chunkenc.ValFloatHistogram && vt != chunkenc.ValHistogram {
		return nil, errors.Join(fmt.Errorf("%w: %s has no histogram", ErrDamaged, a), it.Err())
	}
	_, h, err := floatHistogramAt(it, nil)
	return h, err
}
