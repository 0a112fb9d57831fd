// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// paceShare of the runtime's limit is how far the heap may grow before garbage is collected while queries compute: the rest is for what begins
	// while it is being collected, and queries that hold much are told to make room from 60 % on.
	paceShare = 0.5
	// paceMost is the most that garbage may be of what lives, in percent. A small heap is collected too rarely to matter then.
	paceMost = 400
	// paceStep is the least difference, in percent, for which the runtime is told: it stops everything for a moment, and collects first if it
	// is about to.
	paceStep = 25
	// paceEvery is how often it is looked whether there are queries, and paceLinger for how long there must be none before
	// it is as without.
	paceEvery, paceLinger = 100 * time.Millisecond, 10 * time.Second
)

// Pacer has garbage collected less often while queries compute, as far as there is memory. Queries make up to a gigabyte of garbage a second. Beside a
// small heap that is a collection every quarter of a second, and on two cores each one keeps a core from writes for some
// milliseconds.
type Pacer struct {
	limit    int64
	querying func() bool
}

// NewPacer returns the pacer of the process, whose runtime has a limit of so many bytes (math.MaxInt64: none). Querying tells whether queries compute.
func NewPacer(limitBytes int64, querying func() bool) *Pacer {
	return &Pacer{limit: limitBytes, querying: querying}
}

// Run sets the runtime's GOGC until ctx ends, and then what SetCollection does. It does nothing if GOGC is set, which is the operator's word.
func (p *Pacer) Run(ctx context.Context) error {
	if os.Getenv("GOGC") != "" || p.limit <= 0 || p.limit == math.MaxInt64 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	defer debug.SetGCPercent(gcPercent)
	percent, last := gcPercent, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if p.querying() {
			last = time.Now()
		}
		want := gcPercent
		if time.Since(last) < paceLinger {
			want = pace(liveBytes(), p.limit)
		}
		if want == percent || want != gcPercent && max(want, percent)-min(want, percent) < paceStep {
			continue
		}
		debug.SetGCPercent(want)
		percent = want
	}
}

// pace is how much garbage may pile up while queries compute, in percent of what lives.
func pace(live, limit int64) int {
	room := paceShare*float64(limit)/float64(max(live, 1)) - 1
	return int(min(max(100*room, gcPercent), paceMost))
}

// liveBytes is what lived when garbage was last collected.
func liveBytes() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) //nolint:gosec // Less than there is memory.
}
