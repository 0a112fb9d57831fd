// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	worldSeed = 7
	every     = time.Minute
	day       = 24 * time.Hour
	// copies are how many members are sent each sample, of which each lacks some.
	copies = 3
	// everybody, in place of a member, has all samples.
	everybody = -1
)

// scraped is a sample of a float, or of a histogram if it has one. It implements chunks.Sample.
type scraped struct {
	t int64
	v float64
	h *histogram.Histogram
}

func (s scraped) T() int64                    { return s.t }
func (s scraped) F() float64                  { return s.v }
func (s scraped) H() *histogram.Histogram     { return s.h }
func (scraped) FH() *histogram.FloatHistogram { return nil }
func (s scraped) Copy() chunks.Sample         { return s }

func (s scraped) Type() chunkenc.ValueType {
	if s.h != nil {
		return chunkenc.ValHistogram
	}
	return chunkenc.ValFloat
}

// series is what is scraped of one series, in order of time.
type series struct {
	labels  labels.Labels
	samples []scraped
	lacks   bool // Each copy lacks others of its samples.
}

// stretch is a time in which there are samples.
type stretch struct{ from, until time.Time }

// world is all that is scraped, once a minute.
type world struct {
	stretches []stretch
	all       []series
}

// newWorld has stretches of the given lengths, each at so many days after begin.
func newWorld(begin time.Time, lengths map[int]time.Duration, order ...int) *world {
	w := &world{}
	for _, days := range order {
		from := begin.Add(time.Duration(days) * day)
		w.stretches = append(w.stretches, stretch{from, from.Add(lengths[days])})
	}
	for i := range 2 {
		instance := "host-" + strconv.Itoa(i)
		w.add("counter_total", instance, counter(uint64(i)))
		w.add("gauge", instance, gauge(uint64(i)))
		w.add("latency", instance, exponential(uint64(i), histogram.UnknownCounterReset))
		w.add("sizes", instance, custom(uint64(i)))
	}
	w.add("temperature", "host-0", exponential(9, histogram.GaugeType))
	w.add("flapping", "host-0", flapping)
	w.add("lacking_total", "host-0", counter(8))
	w.all[len(w.all)-1].lacks = true
	return w
}

// generator returns the next sample of a series, and false when there is none.
type generator func(n int, t int64) (scraped, bool)

func (w *world) add(name, instance string, next generator) {
	s := series{labels: labels.FromStrings("__name__", name, "instance", instance, "job", "interop")}
	n := 0
	for _, in := range w.stretches {
		for at := in.from; at.Before(in.until); at = at.Add(every) {
			if x, ok := next(n, at.UnixMilli()); ok {
				s.samples = append(s.samples, x)
			}
			n++
		}
	}
	w.all = append(w.all, s)
}

// between returns the samples in [from, until) of the copy of one member.
func (s series) between(from, until time.Time, member int) (in []scraped) {
	for i, x := range s.samples {
		lacks := s.lacks && i%7 == member
		if x.t >= from.UnixMilli() && x.t < until.UnixMilli() && !lacks {
			in = append(in, x)
		}
	}
	return in
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(worldSeed, seed)) }

// counter starts again every day and a half or so, at what it counted before it was scraped. That is not next to 0: PromQL does
// not extrapolate a counter to below 0, and Thanos, which adds to it what it had before a reset, also in raw samples, does not
// show PromQL where 0 is.
func counter(seed uint64) generator {
	r, v := random(seed), 0.0
	return func(_ int, t int64) (scraped, bool) {
		if v += float64(r.IntN(10)); r.IntN(2200) == 0 {
			v = 200
		}
		return scraped{t: t, v: v}, true
	}
}

func gauge(seed uint64) generator {
	r := random(seed + 100)
	return func(n int, t int64) (scraped, bool) {
		return scraped{t: t, v: 100*math.Sin(float64(n)/500) + r.NormFloat64()}, true
	}
}

// flapping is gone for a third of each hour, which a stale marker says.
func flapping(n int, t int64) (scraped, bool) {
	switch minute := n % 60; {
	case minute < 40:
		return scraped{t: t, v: float64(n)}, true
	case minute == 40:
		return scraped{t: t, v: math.Float64frombits(value.StaleNaN)}, true
	default:
		return scraped{}, false
	}
}

// buckets are counts of six neighbouring buckets that grow, and now and then begin again.
type buckets struct {
	r      *rand.Rand
	counts [6]int64
	sum    float64
}

// grow returns the counts as a histogram has them, each as the difference to the one before, and their total.
func (b *buckets) grow(width float64) (deltas []int64, total uint64) {
	if b.r.IntN(2000) == 0 {
		b.counts, b.sum = [6]int64{}, 0
	}
	last := int64(0)
	for i := range b.counts {
		n := int64(b.r.IntN(4))
		b.counts[i] += n
		b.sum += float64(n) * width * float64(i)
		deltas = append(deltas, b.counts[i]-last)
		last = b.counts[i]
		total += uint64(b.counts[i])
	}
	return deltas, total
}

// exponential is a native histogram.
func exponential(seed uint64, hint histogram.CounterResetHint) generator {
	b := &buckets{r: random(seed + 200)}
	return func(_ int, t int64) (scraped, bool) {
		if hint == histogram.GaugeType {
			b.counts, b.sum = [6]int64{}, 0
		}
		deltas, total := b.grow(0.25)
		return scraped{t: t, h: &histogram.Histogram{
			CounterResetHint: hint, Schema: 3, ZeroThreshold: 1e-128, ZeroCount: 2, Count: total + 2, Sum: b.sum,
			PositiveSpans: []histogram.Span{{Offset: -2, Length: 4}, {Offset: 3, Length: 2}}, PositiveBuckets: deltas,
		}}, true
	}
}

// custom is a native histogram with custom buckets.
func custom(seed uint64) generator {
	b := &buckets{r: random(seed + 300)}
	return func(_ int, t int64) (scraped, bool) {
		deltas, total := b.grow(10)
		return scraped{t: t, h: &histogram.Histogram{
			Schema: histogram.CustomBucketsSchema, Count: total, Sum: b.sum, CustomValues: []float64{1, 10, 20, 30, 40},
			PositiveSpans: []histogram.Span{{Length: 6}}, PositiveBuckets: deltas,
		}}, true
	}
}
