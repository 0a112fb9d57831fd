// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// ledger knows every sample by value. It is the judge, and so uses nothing of what it
// judges: labels as text, times and values.
//
// Sample n of series s is v = s*seriesStep + n, at the time that was noted when it was
// made. So a value tells which sample it is, and no other can pass for it.
type ledger struct {
	mu     sync.Mutex
	series map[string]*ledgerSeries // By labels as Prometheus writes them.
	// interval is the scrape interval, ms.
	interval int64
	acks     int // Acknowledged requests, which number the samples.
}

const seriesStep = 1_000_000

type ledgerSeries struct {
	name    string
	id      int
	samples []ledgerSample
}

type ledgerSample struct {
	t     int64
	acked int // Which acknowledgement; 0 is none yet.
}

func newLedger(interval time.Duration) *ledger {
	return &ledger{series: map[string]*ledgerSeries{}, interval: interval.Milliseconds()}
}

// make notes a new sample of a series and returns its value.
func (l *ledger) make(name string, t int64) (v float64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.series[name]
	if s == nil {
		s = &ledgerSeries{name: name, id: len(l.series) + 1}
		l.series[name] = s
	}
	s.samples = append(s.samples, ledgerSample{t: t})
	n = len(s.samples) - 1
	return float64(s.id*seriesStep + n), n
}

// ack notes that a request with these samples was answered 2xx.
func (l *ledger) ack(samples []sampleID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks++
	for _, id := range samples {
		l.series[id.series].samples[id.n].acked = l.acks
	}
}

type sampleID struct {
	series string
	n      int
}

// horizon is how much was acknowledged so far.
func (l *ledger) horizon() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acks
}

// found is an answer: the samples of each series in the order in which they came.
type found map[string][]point

// check compares an answer with what is known. When it is complete it must have all
// samples of acknowledgements up to the horizon within [mint, maxt].
func (l *ledger) check(f found, complete bool, horizon int, mint, maxt int64) (faults []violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, points := range f {
		if s := l.series[name]; s == nil {
			faults = append(faults, violation{noInvention, "series " + name + " was never sent"})
		} else {
			faults = append(faults, s.checkPoints(points)...)
		}
	}
	if !complete {
		return faults
	}
	for name, s := range l.series {
		if missing := s.missing(f[name], horizon, mint, maxt); len(missing) > 0 {
			faults = append(faults, violation{durability, fmt.Sprintf("series %s lacks %d acknowledged samples, the first %d of %s",
				name, len(missing), missing[0], time.UnixMilli(s.samples[missing[0]].t).UTC().Format("15:04:05.000"))})
		}
	}
	return faults
}

// dedupedGap is how many scrape intervals an answer may lack where the pair was switched.
const dedupedGap = 4

// checkDeduped is check for an answer in which the series of the pair are one: every
// sample is one of either, and there is no hole around an acknowledged one.
func (l *ledger) checkDeduped(f found, complete bool, horizon int, mint, maxt int64) (faults []violation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, points := range f {
		a, b := l.series[ofReplica(name, "a")], l.series[ofReplica(name, "b")]
		for i, p := range points {
			if i > 0 && p.t <= points[i-1].t {
				faults = append(faults, violation{exactlyOnce, fmt.Sprintf("series %s: time %d after %d", name, p.t, points[i-1].t)})
			}
			if (a == nil || a.index(p) < 0) && (b == nil || b.index(p) < 0) {
				faults = append(faults, violation{noInvention, fmt.Sprintf("series %s: %v at %d was never sent", name, p.v, p.t)})
			}
		}
	}
	if !complete {
		return faults
	}
	for name, s := range l.series {
		points := f[withoutReplica(name)]
		for _, smp := range s.samples {
			if smp.acked > 0 && smp.acked <= horizon && smp.t >= mint && smp.t <= maxt && !near(points, smp.t, dedupedGap*l.interval) {
				faults = append(faults, violation{durability, fmt.Sprintf("series %s, deduplicated, has a hole around %d", name, smp.t)})
				break
			}
		}
	}
	return faults
}

func near(points []point, t, by int64) bool {
	i, _ := slices.BinarySearchFunc(points, t-by, func(p point, t int64) int { return cmp.Compare(p.t, t) })
	return i < len(points) && points[i].t <= t+by
}

func withoutReplica(name string) string {
	at := strings.Index(name, replicaLabel)
	return name[:at] + name[strings.Index(name[at:], "s=")+at:]
}

func ofReplica(name, replica string) string {
	return strings.Replace(name, `s="`, fmt.Sprintf("%s=%q, s=\"", replicaLabel, replica), 1)
}

// checkPoints finds what was not sent, and what came twice or out of order.
func (s *ledgerSeries) checkPoints(points []point) (faults []violation) {
	for i, p := range points {
		if i > 0 && p.t <= points[i-1].t {
			faults = append(faults, violation{exactlyOnce, fmt.Sprintf("series %s: time %d after %d", s.name, p.t, points[i-1].t)})
		}
		if n := s.index(p); n < 0 {
			faults = append(faults, violation{noInvention, fmt.Sprintf("series %s: %v at %d was never sent", s.name, p.v, p.t)})
		}
	}
	return faults
}

// index returns which sample a point is, or -1.
func (s *ledgerSeries) index(p point) int {
	n := int(p.v) - s.id*seriesStep
	if n < 0 || n >= len(s.samples) || float64(s.id*seriesStep+n) != p.v || s.samples[n].t != p.t {
		return -1
	}
	return n
}

func (s *ledgerSeries) missing(points []point, horizon int, mint, maxt int64) (missing []int) {
	have := make([]bool, len(s.samples))
	for _, p := range points {
		if n := s.index(p); n >= 0 {
			have[n] = true
		}
	}
	for n, smp := range s.samples {
		if smp.acked > 0 && smp.acked <= horizon && !have[n] && smp.t >= mint && smp.t <= maxt {
			missing = append(missing, n)
		}
	}
	return missing
}

// copies counts for every acknowledged sample in how many of the stores it is, and
// returns those that are in fewer than want, by series.
func (l *ledger) copies(stores []func(series string) []point, want int) (short []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range l.series {
		count := make([]int, len(s.samples))
		for _, points := range stores {
			for _, p := range points(name) {
				if n := s.index(p); n >= 0 {
					count[n]++
				}
			}
		}
		for n, smp := range s.samples {
			if smp.acked > 0 && count[n] < want {
				short = append(short, fmt.Sprintf("%s sample %d (ack %d): %d copies of %d", name, n, smp.acked, count[n], want))
			}
		}
	}
	return short
}

// acked is how many samples were acknowledged.
func (l *ledger) acked() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.series {
		for _, smp := range s.samples {
			if smp.acked > 0 {
				n++
			}
		}
	}
	return n
}
