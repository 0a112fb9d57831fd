// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "time"

const (
	// A rate over two scrapes does not jump between nothing and a whole scrape, and
	// still shows within seconds that a sender is stuck.
	demoRateWindow = 2 * demoScrapeInterval

	// The summary is never exactly on time; a window that is one refresh longer
	// than meant would hold a scrape too few or too many.
	demoRateSlack = 500 * time.Millisecond
)

// rateWindow is the rate of a counter over about the last demoRateWindow.
type rateWindow struct{ points []ratePoint }

type ratePoint struct {
	at    time.Time
	value uint64
}

// add takes the value at a moment later than all before and returns the rate
// per second; 0 for the first.
func (w *rateWindow) add(at time.Time, value uint64) float64 {
	w.points = append(w.points, ratePoint{at, value})
	// Keep one point that is as old as the window, and all that are younger.
	for len(w.points) > 2 && at.Sub(w.points[1].at) >= demoRateWindow-demoRateSlack {
		w.points = w.points[1:]
	}
	first := w.points[0]
	if elapsed := at.Sub(first.at).Seconds(); elapsed > 0 {
		return float64(value-first.value) / elapsed
	}
	return 0
}
