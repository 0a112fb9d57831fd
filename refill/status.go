// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// States of a Refiller, in the order of a round.
const (
	stateWhole     = "whole"     // No losses.
	stateWaiting   = "waiting"   // For the other members, or before another attempt.
	stateSettling  = "settling"  // For writes that began before this member was known.
	stateRefilling = "refilling" // Ranges are read and added.
	stateHints     = "hints"     // For hints that other members still hold.
)

// Status is where refilling stands.
type Status struct {
	State  string `json:"state"`
	Losses []Loss `json:"losses"`
	// RangesTotal and RangesDone are of the current round, a range being one block range of one tenant.
	RangesTotal int     `json:"rangesTotal"`
	RangesDone  int     `json:"rangesDone"`
	Current     *Place  `json:"current,omitempty"`
	Figures     Figures `json:"figures"`
	// LastError is why the last attempt failed or what is waited for; empty once work goes on.
	LastError string    `json:"lastError,omitempty"`
	Started   time.Time `json:"started,omitzero"`  // Of the refill under way or the last one, by this process.
	Finished  time.Time `json:"finished,omitzero"` // Of the last refill by this process.
}

// Place is what is being read.
type Place struct {
	Tenant  string `json:"tenant"`
	MinTime int64  `json:"minTime"`
	MaxTime int64  `json:"maxTime"`
	Part    int    `json:"part"`
	Parts   int    `json:"parts"`
}

// Figures are of the refill under way, or of the last one, as far as this process did it.
type Figures struct {
	Series  uint64  `json:"series"`
	Samples uint64  `json:"samples"`
	Bytes   int64   `json:"bytes"`
	Blocks  int     `json:"blocks"`
	Short   int     `json:"shortRanges"`
	Seconds float64 `json:"seconds"`
}

func (f *Figures) add(got passed) {
	f.Series += got.digest.Series
	f.Samples += got.digest.Samples
	f.Bytes += got.bytes
	f.Blocks += got.blocks
}

// board is the status as Run writes and others read it.
type board struct {
	now func() time.Time

	mu       sync.Mutex
	status   Status
	tenants  map[string]*Figures
	units    int // Done since the process began.
	underway bool
}

func (b *board) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *board) setLosses(losses []Loss) {
	b.change(func() { b.status.Losses = slices.Clone(losses) })
}

func (b *board) state(s string) {
	b.change(func() {
		b.status.State = s
		b.status.Current = nil
		if !b.underway {
			b.underway = true
			b.status.Started, b.status.Finished = b.now(), time.Time{}
			b.status.Figures, b.tenants = Figures{}, map[string]*Figures{}
			b.status.RangesTotal, b.status.RangesDone = 0, 0
		}
	})
}

func (b *board) idle() {
	b.change(func() {
		b.underway = false
		b.status.State, b.status.Current, b.status.LastError = stateWhole, nil, ""
	})
}

func (b *board) begin(units int) {
	b.change(func() {
		b.status.State, b.status.LastError = stateRefilling, ""
		b.status.RangesTotal, b.status.RangesDone = units, 0
	})
}

func (b *board) working(u unit, part, parts int) {
	b.change(func() {
		b.status.State, b.status.LastError = stateRefilling, ""
		b.status.Current = &Place{Tenant: u.tenant, MinTime: u.mint, MaxTime: u.maxt, Part: part, Parts: parts}
	})
}

func (b *board) account(tenant string, got passed) {
	b.change(func() {
		b.status.Figures.add(got)
		f := b.tenants[tenant]
		if f == nil {
			f = &Figures{}
			b.tenants[tenant] = f
		}
		f.add(got)
	})
}

func (b *board) short() { b.change(func() { b.status.Figures.Short++ }) }

func (b *board) unitDone() {
	b.change(func() { b.status.RangesDone++; b.units++ })
}

func (b *board) fail(err error) {
	b.change(func() { b.status.State, b.status.LastError = stateWaiting, err.Error() })
}

func (b *board) finish() (f Figures) {
	b.change(func() {
		b.status.Finished = b.now()
		b.status.Figures.Seconds = b.status.Finished.Sub(b.status.Started).Seconds()
		b.underway = false
		f = b.status.Figures
	})
	return f
}

func (b *board) unitsDone() (n int) {
	b.change(func() { n = b.units })
	return n
}

func (b *board) tenantFigures(tenant string) (f Figures) {
	b.change(func() {
		if p := b.tenants[tenant]; p != nil {
			f = *p
		}
	})
	return f
}

// Status returns where refilling stands.
func (r *Refiller) Status() Status {
	r.board.mu.Lock()
	defer r.board.mu.Unlock()
	s := r.board.status
	if s.State == "" {
		s.State = stateWaiting // Run has not looked yet.
	}
	if r.board.underway {
		s.Figures.Seconds = r.cfg.Now().Sub(s.Started).Seconds()
	}
	if s.Losses == nil {
		s.Losses = []Loss{}
	}
	if s.Current != nil {
		place := *s.Current
		s.Current = &place
	}
	return s
}

// StatusHandler serves the status in the envelope of Prometheus' API.
func (r *Refiller) StatusHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// A write error means that the client is gone: there is nobody to tell.
		_ = json.NewEncoder(w).Encode(struct {
			Status string `json:"status"`
			Data   Status `json:"data"`
		}{"success", r.Status()})
	})
}
