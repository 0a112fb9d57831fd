// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"sync"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// healthyBefore is over what the healthy latency is taken, right before each pause.
	healthyBefore = 8 * time.Second
	// circuitPoll is how often members are asked whether they have given up on the stopped one.
	circuitPoll = 100 * time.Millisecond
)

// latency are the writes to the members that were not stopped, by what they knew.
type latency struct {
	healthy []checker.Attempt
	waiting []checker.Attempt // one owner hangs, and the member does not know yet
	opened  []checker.Attempt // the member does not wait for it any more
	openIn  []time.Duration   // how long that took
}

// stop stops a member for 1 to 20 s, without a connection being closed.
func (r *rig) stop(i int) {
	r.t.Helper()
	n := r.anyNode()
	length := r.between(time.Second, 20*time.Second)
	if i == 0 {
		length = 15 * time.Second // Long enough for the others to notice, also when the test is short.
	}
	r.steady(healthyBefore)
	before := time.Now()
	defer r.harmed(n)()
	n.Process.Suspend()
	stopped := time.Now()
	opened := r.watchCircuits(n, length)
	n.Process.Resume()
	resumed := time.Now()

	l := &r.report.latency
	toOthers := func(a checker.Attempt) bool { return a.Target != n.Name && a.Status != 0 }
	l.healthy = append(l.healthy, r.direct.Attempts.Between(before.Add(-healthyBefore), before, toOthers)...)
	for _, a := range r.direct.Attempts.Between(stopped, resumed, toOthers) {
		at, ok := opened[a.Target]
		switch {
		case !ok || a.At.Add(a.Took).Before(at):
			l.waiting = append(l.waiting, a)
		case a.At.After(at):
			l.opened = append(l.opened, a)
		}
	}
	for _, at := range opened {
		l.openIn = append(l.openIn, at.Sub(stopped))
	}
}

// watchCircuits returns, after the given time, when each other member stopped waiting for n.
func (r *rig) watchCircuits(n *harness.Node, length time.Duration) map[string]time.Time {
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	opened := map[string]time.Time{}
	var mtx sync.Mutex
	var polling sync.WaitGroup
	for _, o := range r.others(n) {
		polling.Go(func() {
			for ctx.Err() == nil {
				if gaveUp(o, n) {
					mtx.Lock()
					opened[o.Name] = time.Now()
					mtx.Unlock()
					return
				}
				time.Sleep(circuitPoll)
			}
		})
	}
	<-ctx.Done()
	polling.Wait()
	return opened
}

// gaveUp tells whether a member does not send writes to another one any more.
func gaveUp(o, n *harness.Node) bool {
	if open, err := o.Sum("penstock_ingest_peer_circuits_open"); err == nil && open > 0 {
		return true
	}
	ring, err := o.Ring()
	if err != nil {
		return false
	}
	for _, m := range ring.Members {
		if m.Name == n.Name && !m.Alive {
			return true
		}
	}
	return false
}

func (r *rig) printLatency() {
	l := r.report.latency
	if len(l.healthy) == 0 {
		return
	}
	show := func(what string, attempts []checker.Attempt) {
		r.t.Logf("SIGSTOP, writes to the others, %s: p50 %s, p99 %s, longest %s, of %d", what,
			checker.Quantile(attempts, 0.5).Round(100*time.Microsecond), checker.Quantile(attempts, 0.99).Round(100*time.Microsecond),
			checker.Quantile(attempts, 1).Round(100*time.Microsecond), len(attempts))
	}
	show("healthy", l.healthy)
	show("while they wait for it", l.waiting)
	show("once they do not", l.opened)
	r.t.Logf("SIGSTOP: members stopped waiting after %s", l.openIn)
}
