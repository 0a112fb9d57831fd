// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// scene is what one seed makes: targets, a lone Prometheus that scrapes them and is never
// down, and the HA replicas that scrape them less than perfectly. All times are in ms; true
// time is what a perfect clock shows.
type scene struct {
	seed    uint64
	kind    kind
	length  int64
	lone    server
	servers []server // the replicas, in order of preference
	targets []target
}

// kind is what the targets show.
type kind int

const (
	counters kind = iota
	gauges
	classic
	native
	nativeFloats
	customBuckets
	kinds
)

func (k kind) String() string {
	return []string{"counters", "gauges", "classic histograms", "native histograms", "native float histograms", "custom buckets"}[k]
}

// server is one Prometheus.
type server struct {
	name             string
	interval, jitter int64
	skew             int64   // what its clock is ahead
	holes            []hole  // when it scrapes nothing, in order
	lag              int64   // what it scraped from then on is stored late; maxTime: nothing is
	sees             []bool  // which targets it scrapes
	offsets          []int64 // of its scrapes, by target
}

// hole is a time in which a server scrapes nothing: [from, to), in true time. If its scrapes
// fail, rather than are not made, the first one that does leaves a stale marker.
type hole struct {
	from, to int64
	fails    bool
}

// target lives in [from, to) of true time.
type target struct {
	from, to int64
	perMs    float64 // the growth of a counter; the steepest slope of a gauge
	base     float64 // of a gauge
	period   int64   // of a gauge, in which it rises and falls
	resets   []int64 // when a counter begins again at zero
	schema   int32   // of a native histogram; another one after each reset
}

// scrape is one scrape of one target by one server: when it was made, and what it is stored as.
type scrape struct {
	at, t  int64
	marker bool
	late   bool
}

// scrapes is what a server stores of a target.
func (s *scene) scrapes(v *server, n int) []scrape {
	if !v.sees[n] {
		return nil
	}
	var (
		tg      = &s.targets[n]
		rng     = rand.New(rand.NewPCG(s.seed, uint64(v.offsets[n])))
		all     []scrape
		showing bool // the scrape before this one had the target
	)
	for due := v.offsets[n]; due < s.length; due += v.interval {
		sc := scrape{at: due}
		if v.jitter > 0 {
			sc.at += rng.Int64N(v.jitter + 1)
		}
		sc.t, sc.late = sc.at+v.skew, sc.at >= v.lag
		h, out := v.out(sc.at)
		switch alive := sc.at >= tg.from && sc.at < tg.to; {
		case out && (!h.fails || !showing), !out && !alive && !showing:
			showing = false
			continue
		case out, !alive:
			sc.marker, showing = true, false
		default:
			showing = true
		}
		all = append(all, sc)
	}
	return all
}

func (v *server) out(t int64) (hole, bool) {
	for _, h := range v.holes {
		if t >= h.from && t < h.to {
			return h, true
		}
	}
	return hole{}, false
}

// count is a counter at a true time.
func (tg *target) count(t int64) float64 { return tg.share(t, 1) }

// share is a counter of a part of what the target counts.
func (tg *target) share(t int64, part float64) float64 {
	since, _ := tg.since(t)
	return math.Floor(float64(t-since) * tg.perMs * part)
}

// since is when the counter was zero, and how often it has been reset.
func (tg *target) since(t int64) (int64, int) {
	since, n := int64(-3_600_000), 0
	for _, r := range tg.resets {
		if r <= t {
			since, n = r, n+1
		}
	}
	return since, n
}

// gauge rises and falls in straight lines.
func (tg *target) gauge(t int64) float64 {
	at := (t%tg.period + tg.period) % tg.period
	return tg.base + tg.perMs*float64(min(at, tg.period-at))
}

// newScene is deterministic in its seed.
func newScene(seed uint64) *scene {
	rng := rand.New(rand.NewPCG(seed, 7))
	s := &scene{seed: seed, kind: kind(seed % uint64(kinds))}
	interval := []int64{2000, 5000, 10_000, 15_000, 15_000, 30_000, 30_000, 60_000, 120_000}[rng.IntN(9)]
	count := 2
	if rng.IntN(4) == 0 {
		count = 3
	}
	jitter := rng.Int64N(interval/20 + 1)
	for n := range count {
		v := server{name: string(rune('a' + n)), interval: interval, jitter: jitter, lag: maxTime, skew: rng.Int64N(4001) - 2000}
		if rng.IntN(5) == 0 && n > 0 {
			v.interval = []int64{interval / 2, interval * 3 / 4, min(2*interval, 120_000)}[rng.IntN(3)]
		}
		s.servers = append(s.servers, v)
	}
	s.length = max(1_800_000, 60*s.slowest())
	s.lone = server{name: "lone", interval: interval, lag: maxTime}
	for n := range 1 + rng.IntN(3) {
		if n > 0 && s.kind != gauges && s.kind != counters {
			break
		}
		s.targets = append(s.targets, s.newTarget(rng))
		s.lone.sees = append(s.lone.sees, true)
		s.lone.offsets = append(s.lone.offsets, rng.Int64N(interval))
		alone := rng.IntN(8) // a target in four is known to one server alone
		for i := range s.servers {
			v := &s.servers[i]
			v.sees = append(v.sees, alone >= count || alone == i)
			v.offsets = append(v.offsets, rng.Int64N(v.interval))
		}
	}
	s.breakDown(rng)
	return s
}

func (s *scene) newTarget(rng *rand.Rand) target {
	tg := target{to: s.length + 1, perMs: 0.0005 * math.Pow(40, rng.Float64()), schema: int32(rng.IntN(3))}
	if rng.IntN(4) == 0 {
		tg.from = rng.Int64N(s.length / 4)
	}
	if rng.IntN(4) == 0 {
		tg.to = s.length - rng.Int64N(s.length/4)
	}
	if s.kind == gauges {
		tg.base = 200*rng.Float64() - 100
		tg.period = s.slowest() * (4 + rng.Int64N(60))
		return tg
	}
	apart := 12 * (2*s.slowest() + 10_000)
	for r := rng.Int64N(2 * s.length); r < s.length; r += apart + rng.Int64N(s.length) {
		tg.resets = append(tg.resets, r)
	}
	return tg
}

// breakDown gives the servers their holes: in three scenes of four one at a time, and always at
// least five scrapes apart for each server, because from fewer nobody can tell how often it scrapes.
// None begins while a target is about to go away (see Limits in DESIGN.md).
func (s *scene) breakDown(rng *rand.Rand) {
	slow := s.slowest()
	length := func() int64 { return 1 + rng.Int64N(slow*[]int64{1, 1, 2, 5, 30}[rng.IntN(5)]) }
	leaving := func(t int64) bool {
		return slices.ContainsFunc(s.targets, func(tg target) bool { return t > tg.to-4*slow-10_000 && t <= tg.to+2*slow+10_000 })
	}
	dig := func(v *server, t int64) int64 {
		h := hole{from: t, to: t + length(), fails: rng.IntN(3) == 0}
		if leaving(t) {
			return t + slow
		}
		v.holes = append(v.holes, h)
		return h.to
	}
	if rng.IntN(4) > 0 {
		for t := rng.Int64N(slow * 20); t < s.length; {
			t = dig(&s.servers[rng.IntN(len(s.servers))], t) + 8*slow + 20_000 + rng.Int64N(slow*20)
		}
	} else {
		for i := range s.servers {
			for t := rng.Int64N(slow * 20); t < s.length; {
				t = dig(&s.servers[i], t) + 5*slow + rng.Int64N(slow*20)
			}
		}
	}
	v, late := &s.servers[rng.IntN(len(s.servers))], s.length-rng.Int64N(s.length/4)
	soon := slices.ContainsFunc(v.holes, func(h hole) bool { return h.to <= late && h.to > late-5*slow })
	if rng.IntN(3) == 0 && !leaving(late) && !soon {
		v.lag = late
	}
}

func (s *scene) slowest() int64 {
	return slices.MaxFunc(s.servers, func(a, b server) int { return int(a.interval - b.interval) }).interval
}

func (s *scene) fastest() int64 {
	return slices.MinFunc(s.servers, func(a, b server) int { return int(a.interval - b.interval) }).interval
}

func (s *scene) lags() bool {
	return slices.ContainsFunc(s.servers, func(v server) bool { return v.lag < maxTime })
}

// caughtUp is the scene after what was late has been stored.
func (s *scene) caughtUp() *scene {
	later := *s
	later.servers = slices.Clone(s.servers)
	for i := range later.servers {
		later.servers[i].lag = maxTime
	}
	return &later
}

// String is for whoever plays a seed again.
func (s *scene) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d s long", s.kind, s.length/1000)
	for _, v := range s.servers {
		fmt.Fprintf(&b, "\n  %s: every %d ms, jitter %d, skew %d, offsets %v, sees %v", v.name, v.interval, v.jitter, v.skew, v.offsets, v.sees)
		if v.lag < maxTime {
			fmt.Fprintf(&b, ", lags from %d", v.lag)
		}
		for _, h := range v.holes {
			fmt.Fprintf(&b, "\n     hole [%d, %d) fails %v", h.from, h.to, h.fails)
		}
	}
	for n, tg := range s.targets {
		fmt.Fprintf(&b, "\n  target %d: [%d, %d), %g a second, resets %v", n, tg.from, tg.to, 1000*tg.perMs, tg.resets)
	}
	return b.String()
}
