// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// histogramWindow is one sample of each aggregate.
type histogramWindow struct {
	t            int64
	count        float64
	sum, counter *histogram.FloatHistogram
}

// histogramBuilder makes the chunks of one batch of histograms of one kind.
//
// The format has no place where a chunk of histograms could say what the counter really showed at its ends, as one of floats
// does. So a reset begins a new chunk: then the counter in a chunk is what was shown, and whoever joins two chunks sees
// the reset as they would have in the raw series. Where resets come more than once in a window, which would make many tiny
// chunks, the later ones are corrected as they are for floats, and what was shown before them is kept in folded.
type histogramBuilder struct {
	w      *writer
	schema int32 // The coarsest in the batch; all become of this one.

	windows []histogramWindow // Of the current chunk.
	began   int64             // The end of the window in which its first sample is.
	end     int64             // Of the open window.
	lastT   int64
	count   float64                   // Of the open window; 0 before the first sample.
	sum     *histogram.FloatHistogram // Of the open window.
	folded  *histogram.FloatHistogram
}

// add takes the next sample, of n histograms that have the given sum, after which the counter shows counter and before which
// it showed previous. It keeps none of them.
func (b *histogramBuilder) add(t int64, counter, sum, previous *histogram.FloatHistogram, n float64) {
	end := windowEnd(t, b.w.resolution)
	if b.count > 0 {
		reset := counter.CounterResetHint != histogram.GaugeType && counter.DetectReset(previous)
		switch {
		case reset && end > b.began:
			b.finish(previous)
		case reset:
			b.fold(previous)
		}
		if b.count > 0 && t > b.end {
			b.closeWindow(b.end, previous)
		}
	}
	if len(b.windows) == 0 && b.count == 0 {
		b.began = end
	}
	if b.count == 0 {
		b.sum = sum.CopyToSchema(b.schema)
	} else {
		plus(b.sum, sum)
	}
	b.count += n
	b.end, b.lastT = end, t
}

// fold remembers what a counter showed before a reset.
func (b *histogramBuilder) fold(previous *histogram.FloatHistogram) {
	if b.folded == nil {
		b.folded = previous.CopyToSchema(b.schema)
	} else {
		plus(b.folded, previous)
	}
}

// plus adds histograms of one kind. Add fails only for others; what it says of hints and bounds is known here.
func plus(to, h *histogram.FloatHistogram) {
	if _, _, _, err := to.Add(h); err != nil {
		panic(err)
	}
}

// closeWindow ends the open window, after which the counter showed last.
func (b *histogramBuilder) closeWindow(t int64, last *histogram.FloatHistogram) {
	counter := last.CopyToSchema(b.schema)
	if counter.CounterResetHint != histogram.GaugeType {
		counter.CounterResetHint = histogram.UnknownCounterReset
		if b.folded != nil {
			plus(counter, b.folded)
		}
	}
	b.sum.CounterResetHint = histogram.GaugeType // From window to window it may fall.
	b.windows = append(b.windows, histogramWindow{t: t, count: b.count, sum: b.sum, counter: counter})
	b.count, b.sum = 0, nil
}

// finish writes what there is, after which the counter showed last. The builder is as new then.
func (b *histogramBuilder) finish(last *histogram.FloatHistogram) {
	if b.count > 0 {
		b.closeWindow(b.lastT, last)
	}
	for rest := b.windows; len(rest) > 0; {
		rest = rest[b.w.histogramChunk(rest):]
	}
	b.windows, b.folded = b.windows[:0], nil
}

// histogramChunk writes a chunk of the windows, or of as many as fit into one: a chunk has one threshold of the zero bucket,
// which may grow. It returns how many.
func (w *writer) histogramChunk(windows []histogramWindow) int {
	var parts Parts
	n := len(windows)
	for before := 0; before != n; {
		before = n
		parts[Counter], n = appendHistograms(windows[:n], func(h histogramWindow) *histogram.FloatHistogram { return h.counter })
		parts[Sum], n = appendHistograms(windows[:n], func(h histogramWindow) *histogram.FloatHistogram { return h.sum })
	}
	app := w.appender(Count)
	for _, h := range windows[:n] {
		app.Append(0, h.t, h.count)
	}
	parts[Count] = w.floats[Count]
	w.emit(&parts, windows[0].t, windows[n-1].t)
	return n
}

// appendHistograms returns a chunk of the first windows, and how many of them.
func appendHistograms(windows []histogramWindow, of func(histogramWindow) *histogram.FloatHistogram) (chunkenc.Chunk, int) {
	var c chunkenc.Chunk = chunkenc.NewFloatHistogramChunk()
	app, err := c.Appender()
	if err != nil {
		panic(err) // It fails only for bytes that are no chunk.
	}
	for i, window := range windows {
		h := *of(window)
		// Appending may widen the spans and buckets in place.
		h.PositiveSpans, h.NegativeSpans = slices.Clone(h.PositiveSpans), slices.Clone(h.NegativeSpans)
		grown, recoded, next, err := app.AppendFloatHistogram(nil, 0, window.t, &h, false)
		if err != nil {
			return c, i
		}
		if grown != nil {
			if !recoded {
				return c, i
			}
			c = grown
		}
		app = next
	}
	return c, len(windows)
}
