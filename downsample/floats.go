// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"math"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// point is a sample of a float series.
type point struct {
	t int64
	v float64
}

// floatWindow is what the samples of one window add up to.
type floatWindow struct {
	count         int
	sum, min, max float64
}

func (w *floatWindow) add(v float64) {
	if w.count == 0 {
		w.min, w.max = v, v
	}
	w.count++
	w.sum += v
	w.min, w.max = min(w.min, v), max(w.max, v)
}

// risen is how much a counter grew that showed last and then v. One that fell began again at 0.
func risen(last, v float64) float64 {
	if v < last {
		return v
	}
	return v - last
}

// writer builds the chunks of one series after the other. Its buffers are used again; it is not safe for concurrent use.
type writer struct {
	resolution int64
	out        []chunks.Meta // Of the current series.

	points []point
	floats [aggregates]*chunkenc.XORChunk
	read   chunkenc.Iterator
	hists  histogramReader
}

func newWriter(resolution int64) *writer { return &writer{resolution: resolution} }

// appender returns one to an empty chunk, the bytes of which are valid until it is asked for the same one again.
func (w *writer) appender(a Aggregate) chunkenc.Appender {
	if w.floats[a] == nil {
		w.floats[a] = chunkenc.NewXORChunk()
	}
	c := w.floats[a]
	c.Reset(append(c.Bytes()[:0], 0, 0)) // No samples.
	app, err := c.Appender()
	if err != nil {
		panic(err) // It fails only for bytes that are no chunk.
	}
	return app
}

// emit adds a chunk over windows that end between mint and maxt.
func (w *writer) emit(parts *Parts, mint, maxt int64) {
	w.out = append(w.out, chunks.Meta{MinTime: mint, MaxTime: maxt, Chunk: parts.Encode()})
}

// rawFloats downsamples the samples of a series, or of a part of it between histograms. NaN, of which a stale marker is one,
// says nothing about a window. The points are changed.
func (w *writer) rawFloats(points []point) {
	if len(points) == 0 {
		return
	}
	size := len(points)/chunkTarget(points[0].t, points[len(points)-1].t, assumedInterval, w.resolution, len(points)) + 1
	for len(points) > 0 {
		n := min(size, len(points))
		// A window is not divided between chunks.
		for end := windowEnd(points[n-1].t, w.resolution); n < len(points) && points[n].t <= end; {
			n++
		}
		batch := points[:0:n]
		for _, p := range points[:n] {
			if !math.IsNaN(p.v) {
				batch = append(batch, p)
			}
		}
		points = points[n:]
		if len(batch) > 0 {
			w.rawFloatChunk(batch)
		}
	}
}

// rawFloatChunk makes one chunk. The last window ends with the last sample, so that it cannot reach into the next chunk's.
//
// The counter says two things more than the windows do: its first sample is the first one of the series, and the last raw
// value comes once more at the time of the last window. So whoever joins two chunks knows what the counter really showed on
// both sides, and whether it was reset between them.
func (w *writer) rawFloatChunk(batch []point) {
	var apps [aggregates]chunkenc.Appender
	for a := range apps {
		apps[a] = w.appender(Aggregate(a))
	}
	first, last := batch[0], batch[len(batch)-1]
	apps[Counter].Append(0, first.t, first.v)

	counter, previous := first.v, first.v
	end := windowEnd(first.t, w.resolution)
	var window floatWindow
	flush := func(t int64) {
		apps[Count].Append(0, t, float64(window.count))
		apps[Sum].Append(0, t, window.sum)
		apps[Min].Append(0, t, window.min)
		apps[Max].Append(0, t, window.max)
		apps[Counter].Append(0, t, counter)
		window = floatWindow{}
	}
	for i, p := range batch {
		if p.t > end {
			flush(end)
			end = windowEnd(p.t, w.resolution)
		}
		if i > 0 {
			counter += risen(previous, p.v)
		}
		previous = p.v
		window.add(p.v)
	}
	flush(last.t)
	apps[Counter].Append(0, last.t, last.v)
	w.emit(w.parts(Count, Sum, Min, Max, Counter), min(windowEnd(first.t, w.resolution), last.t), last.t)
}

// parts returns the float chunks of the given aggregates.
func (w *writer) parts(present ...Aggregate) *Parts {
	var parts Parts
	for _, a := range present {
		parts[a] = w.floats[a]
	}
	return &parts
}
