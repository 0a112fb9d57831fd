// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// eventsMax bounds the log of one run; the newest events stay.
const eventsMax = 4000

// events is what happened in a run, for the one who has to understand a failure.
type events struct {
	start time.Time
	mu    sync.Mutex
	lines []string
	// hits counts the crash points that were passed, and kills those that killed.
	hits, kills map[string]int
}

func newEvents(start time.Time) *events {
	return &events{start: start, hits: map[string]int{}, kills: map[string]int{}}
}

func (e *events) add(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ", time.Since(e.start).Seconds()) + fmt.Sprintf(format, args...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.lines) >= eventsMax {
		e.lines = slices.Delete(e.lines, 0, eventsMax/4)
	}
	e.lines = append(e.lines, line)
}

// detail is add for what happens all the time: only where one seed is looked at.
func (e *events) detail(format string, args ...any) {
	if *oneFlag != 0 {
		e.add(format, args...)
	}
}

func (e *events) hit(point string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits[point]++
	return e.hits[point]
}

func (e *events) killed(point string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kills[point]++
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.lines, "\n")
}
