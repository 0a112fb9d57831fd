// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"math"
	"time"

	"github.com/cespare/xxhash/v2"
)

// curve is how one source of events (an endpoint, a queue) behaves over time.
// Its methods are pure functions of the seconds since the start of the fleet.
type curve struct {
	rate   float64 // events per second, on average; 0 for an idle source
	swing  float64 // how much of the rate comes and goes, 0 to below 1
	period float64 // seconds from one peak to the next
	phase  float64 // radians
}

const (
	rateMax = 40.0 // events per second of the busiest source

	// Peaks a few minutes apart are seen in a demo that runs for minutes.
	shortestPeriod, longestPeriod = 3 * time.Minute, 15 * time.Minute

	// In real targets a good part of the series does not move between scrapes;
	// a receiver stores those almost for nothing, so their share matters.
	idleShare = 0.3
)

// newCurve derives a curve from what names its source. Equal names give equal
// curves in every process.
func newCurve(name string) curve {
	h := xxhash.Sum64String(name)
	if fraction(h, 0) < idleShare {
		return curve{period: longestPeriod.Seconds()}
	}
	return curve{
		rate:   0.1 + rateMax*math.Pow(fraction(h, 1), 3), // few busy sources, many quiet ones
		swing:  0.8 * fraction(h, 2),
		period: shortestPeriod.Seconds() + fraction(h, 3)*(longestPeriod-shortestPeriod).Seconds(),
		phase:  2 * math.Pi * fraction(h, 4),
	}
}

// fraction draws the i-th number in [0, 1) that belongs to the hash h.
func fraction(h uint64, i int) float64 {
	// SplitMix64's finaliser: neighbouring i must not give neighbouring numbers.
	x := h + uint64(i+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

// events is how many events have happened after s seconds: the integral of
// rate*(1 + swing*sin(...)), which never falls because swing is below 1.
func (c curve) events(s float64) float64 {
	w := 2 * math.Pi / c.period
	return c.rate * (s + c.swing/w*(math.Cos(c.phase)-math.Cos(w*s+c.phase)))
}

// level is where a gauge stands after s seconds, between 0 and 2*rate.
func (c curve) level(s float64) float64 {
	return c.rate * (1 + c.swing*math.Sin(2*math.Pi/c.period*s+c.phase))
}
