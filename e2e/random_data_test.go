// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

const (
	randomInterval = time.Minute
	// randomBlock is as long as blocks of members are; those in the bucket are randomMerged of them.
	randomBlock  = 2 * time.Hour
	randomMerged = 3
	// randomRequest is how much one request carries, and randomLate the time of which some is written late. A TSDB takes two hours.
	randomRequest = 20 * time.Minute
	randomLate    = 100 * time.Minute
	// The older blocks are in the bucket of the cluster, the younger ones on its disks, and what is younger still was written
	// to it: two hours at the least, four at the most. Together they have three midnights, where ranges are split.
	randomInBucket = 5 * randomMerged
	randomOnDisk   = 15
)

// randomSample has one of the three values.
type randomSample struct {
	at      int64
	float   float64
	integer *histogram.Histogram
	hist    *histogram.FloatHistogram
}

type randomSeries struct {
	labels    labels.Labels
	samples   []randomSample // By time.
	exemplars bool
}

// randomData is what all sides are given.
type randomData struct {
	series []randomSeries // By labels, so that the order in which a head is told of them is that of their labels.
	// From begin to cut it is in blocks, and older than local it is in the bucket; from cut to end it is written.
	begin, local, cut, end time.Time
}

// newRandomData makes data that end now.
func newRandomData(seed uint64, now time.Time) *randomData {
	cut := now.UTC().Truncate(randomBlock).Add(-randomBlock)
	local := cut.Add(-randomOnDisk * randomBlock)
	d := &randomData{begin: local.Add(-randomInBucket * randomBlock), local: local, cut: cut, end: now}
	m := randomMaker{data: d, seed: seed}
	for i, instance := range []string{"a:9090", "b:9090", "c:8080"} {
		job := []string{"api", "api", "db"}[i]
		common := []string{"instance", instance, "job", job}
		for _, code := range []string{"200", "404", "500"} {
			m.add(m.counter(40), append(common, "__name__", "requests_total", "code", code)...)
		}
		m.add(m.counter(3), append(common, "__name__", "errors_total")...)
		for i := range 5 { // So different in size that the order in which they are added shows.
			m.add(m.walk(math.Pow(17, float64(i-2))), append(common, "__name__", "temperature", "n", strconv.Itoa(i))...)
		}
		m.add(m.whole(8), append(common, "__name__", "queue_length", "queue", fmt.Sprintf("q%d", i%2))...)
		m.add(m.whole(2), append(common, "__name__", "up")...)
		m.classic(common)
		m.add(m.exponential(false), append(common, "__name__", "native_seconds")...)
		m.add(m.exponential(true), append(common, "__name__", "native_float")...)
		m.add(m.custom(), append(common, "__name__", "native_custom")...)
	}
	m.add(m.gauges(), "__name__", "native_gauge", "job", "batch")
	m.add(m.mixed(), "__name__", "mixed", "job", "batch", "n", "1")
	m.add(m.walk(1), "__name__", "mixed", "job", "batch", "n", "2")
	for i := range 3 {
		m.add(m.flapping(), "__name__", "flapping", "job", "batch", "n", strconv.Itoa(i))
		m.add(m.special(), "__name__", "special", "job", "batch", "n", strconv.Itoa(i))
		m.add(m.walk(0.001), "__name__", "http.server.duration", "service.name", []string{"a b", "grüße", `q"uo\te` + "\n"}[i], "ünïcode", "世界")
	}
	for i, unit := range []string{"seconds", "bytes"} { // The engine takes these labels away with the name.
		m.add(m.counter(7), "__name__", "typed", "__type__", "counter", "__unit__", unit, "n", strconv.Itoa(i))
	}
	m.add(m.churn(3), "job", "batch", "no", "name") // Remote write refuses it; blocks may have it.
	m.add(m.walk(2), "__name__", "odd", "a\nb", `\"'`, "\"", "\u2028", "U__x", strings.Repeat("x", 500))
	for i := range 6 { // Each is there for a part of the time of the blocks only.
		m.add(m.churn(i), "__name__", "pod_memory", "job", "k8s", "pod", fmt.Sprintf("pod-%d", i))
	}
	slices.SortFunc(d.series, func(a, b randomSeries) int { return labels.Compare(a.labels, b.labels) })
	return d
}

// randomMaker makes series, each from random numbers of its own.
type randomMaker struct {
	data *randomData
	seed uint64
	made uint64
}

func (m *randomMaker) add(samples []randomSample, pairs ...string) {
	ls := labels.FromStrings(pairs...)
	m.data.series = append(m.data.series, randomSeries{labels: ls, samples: samples, exemplars: ls.Get("__name__") == "requests_total"})
}

// each calls next for each scrape of a series: at its interval, not quite regularly, and not at all now and then. What next
// says that there is not is skipped.
func (m *randomMaker) each(next func(r *rand.Rand, at int64) (randomSample, bool)) []randomSample {
	m.made++
	r := rand.New(rand.NewPCG(m.seed, m.made))
	var out []randomSample
	phase := time.Duration(r.IntN(int(randomInterval/time.Millisecond))) * time.Millisecond
	jitter := []int{1, 1, 5, 2000}[r.IntN(4)]
	for t := m.data.begin.Add(phase); t.Before(m.data.end); t = t.Add(randomInterval) {
		at := t.UnixMilli() + int64(r.IntN(jitter))
		if s, ok := next(r, at); ok && r.IntN(200) > 0 {
			s.at = at
			out = append(out, s)
		}
	}
	return out
}

func (m *randomMaker) counter(per float64) []randomSample {
	var v float64
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		v += math.Floor(per * r.ExpFloat64())
		if r.IntN(400) == 0 {
			v = 0
		}
		return randomSample{float: v}, true
	})
}

func (m *randomMaker) walk(by float64) []randomSample {
	v := 2 * by
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		v += by * r.NormFloat64()
		return randomSample{float: v}, true
	})
}

// whole has few different values, so that comparisons and orders meet ties.
func (m *randomMaker) whole(below int) []randomSample {
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		return randomSample{float: float64(r.IntN(below))}, true
	})
}

func (m *randomMaker) flapping() []randomSample {
	there := true
	return m.each(func(r *rand.Rand, at int64) (randomSample, bool) {
		sinceCut := at - m.data.cut.UnixMilli()
		switch {
		case sinceCut >= 0 && sinceCut < randomRequest.Milliseconds(): // A head is told of it in the order of its labels.
		case !there && r.IntN(20) > 0:
			return randomSample{}, false
		case there && r.IntN(30) == 0:
			there = false
			return randomSample{float: math.Float64frombits(value.StaleNaN)}, true
		case there && r.IntN(60) == 0: // It goes without a word.
			there = false
			return randomSample{}, false
		}
		there = true
		return randomSample{float: float64(at % 1000)}, true
	})
}

func (m *randomMaker) special() []randomSample {
	values := []float64{
		math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1.0 / 3, 0, 1e15 + 1, -7.25,
	}
	v := values[0]
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		if r.IntN(10) == 0 {
			v = values[r.IntN(len(values))]
		}
		return randomSample{float: v}, true
	})
}

// churn is there for an eighth of the time of the blocks, and ends without a stale marker, or with one.
func (m *randomMaker) churn(i int) []randomSample {
	begin, cut := m.data.begin.UnixMilli(), m.data.cut.UnixMilli()
	from := begin + int64(i)*(cut-begin)/7
	until := from + (cut-begin)/8
	last := false
	return m.each(func(r *rand.Rand, at int64) (randomSample, bool) {
		switch {
		case at < from || last:
			return randomSample{}, false
		case at >= until:
			last = true
			return randomSample{float: math.Float64frombits(value.StaleNaN)}, i%2 == 0
		}
		return randomSample{float: r.Float64() * 1e9}, true
	})
}

// classic is a histogram of counters, one for each bucket.
func (m *randomMaker) classic(common []string) {
	for i, le := range []string{"0.1", "0.5", "2.5", "+Inf"} {
		m.add(m.counter(float64(5*(i+1))), append(common, "__name__", "latency_seconds_bucket", "le", le)...)
	}
	m.add(m.counter(20), append(common, "__name__", "latency_seconds_count")...)
	m.add(m.walk(3), append(common, "__name__", "latency_seconds_sum")...)
}

// lacking is the member, of three, that has not got a sample; negative: all have it. Holes are some minutes long.
func lacking(ls labels.Labels, at int64) int {
	return int(hashOf(ls, at/(7*time.Minute.Milliseconds()))%6) - 3 // Half of the time nobody has a hole.
}

func hashOf(ls labels.Labels, n int64) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, ls.String(), n)
	return h.Sum64()
}
