// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

const (
	// settleWait is how long a cluster may take, once nothing goes wrong any more, until
	// nothing is owed to anyone.
	settleWait = 5 * time.Minute
	// minoritySlack is the time in which a member finds out that it is cut off.
	minoritySlack = 12 * time.Second
)

// result is what a run shows.
type result struct {
	violations []violation
	events     *events
	plan       plan
	acked      int
}

// run plays one seed. It must be called in a bubble of testing/synctest.
func run(t *testing.T, p plan, safe safety) result {
	t.Helper()
	dir, err := os.MkdirTemp(hintRoot(), "penstock-sim-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, end := context.WithCancel(context.Background())
	w := &world{
		plan: p, safety: safe, dir: dir, ctx: ctx, events: newEvents(time.Now()), net: newNetwork(p.seed), ledger: newLedger(p.interval),
		crashes: map[crashKey]bool{}, cutOff: map[string]time.Time{}, losing: make(chan struct{}, 1),
	}
	w.net.refuses, w.net.loss = p.refuses, p.loss
	for range p.members {
		w.addHost().boot()
	}
	w.background(w.watchPartitions)
	// Samples that are taken before all members know each other have no third owner.
	w.awaitRedundancy()
	until := time.Now().Add(p.lasts)
	sent := w.startSenders(until)
	w.background(func() { w.read(until) })
	w.inject()
	w.settle(sent)
	end()
	for _, h := range w.allHosts() {
		h.down()
	}
	w.wg.Wait()
	return result{violations: w.broken(), events: w.events, plan: p, acked: w.ledger.acked()}
}

// hintRoot is where hint logs are: in memory where the system has such a file system.
func hintRoot() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// startSenders starts the HA pair, one sender of 1.0 and one of 2.0, with two shards
// each. The channel is closed when all that they had is delivered.
func (w *world) startSenders(until time.Time) <-chan struct{} {
	done := make(chan struct{}, 4)
	for i, replica := range []string{"a", "b"} {
		for shard := range 2 {
			s := &sender{w: w, replica: replica, shard: shard, v2: i == 1, queue: make(chan request, 1000)}
			for n := range w.plan.seriesCount {
				if n%2 == shard {
					s.series = append(s.series, strconv.Itoa(n))
				}
			}
			w.background(func() { s.scrape(until) })
			w.background(func() {
				s.send()
				done <- struct{}{}
			})
		}
	}
	all := make(chan struct{})
	w.background(func() {
		defer close(all)
		for range 4 {
			<-done
		}
	})
	return all
}

// settle mends everything, waits until nothing is owed to anyone, and judges.
func (w *world) settle(sent <-chan struct{}) {
	w.mu.Lock()
	w.grace = true
	w.mu.Unlock()
	w.events.add("everything is mended")
	mend := func() {
		w.net.heal()
		for _, h := range w.allHosts() {
			h.disk.setFailing(false)
			h.disk.setLow(false)
			if p := h.current(); p != nil {
				p.pause(false)
			} else {
				h.boot()
			}
		}
	}
	finished := false
	for deadline := time.Now().Add(settleWait); time.Now().Before(deadline); w.sleep(time.Second) {
		mend()
		select {
		case <-sent:
			finished = true
		default:
		}
		if finished && w.faulty.Load() == 0 && w.redundant() {
			w.judge()
			return
		}
	}
	w.violate(redundancyRestored, "after %s: all delivered %v, %s", settleWait, finished, w.owed())
}

// owed says what is missing to redundancy.
func (w *world) owed() string {
	out := ""
	for _, h := range w.allHosts() {
		p := h.current()
		if p == nil {
			out += fmt.Sprintf("[%s down, off %v]", h.name, h.isOff())
			continue
		}
		out += fmt.Sprintf("[%s ready %v, failed %v, losses %d, newcomer %v, hints %v, debts %v, sees %s]",
			h.name, p.store.Ready(), p.store.isFailed(), p.disk.lossCount(), p.disk.newcomer.Load(), p.log.Pending(), p.log.Debts(), p.sees())
	}
	return out
}

// judge reads everything back from every member.
func (w *world) judge() {
	want := w.plan.rf
	if w.hintsLost > 0 {
		want = w.plan.rf/2 + 1
	}
	var stores []func(string) []point
	version := ""
	for _, h := range w.allHosts() {
		p := h.current()
		for _, deduped := range []bool{false, true} {
			if !p.query(false, deduped) {
				w.violate(completeOrError, "%s gives no answer when all is well; it sees %s", h.name, p.sees())
			}
		}
		stores = append(stores, p.store.points)
		if v := p.members.View().VersionHex(); version == "" {
			version = v
		} else if v != version {
			w.violate(oneRing, "%s has ring %s, not %s", h.name, v, version)
		}
	}
	if short := w.ledger.copies(stores, want); len(short) > 0 {
		w.violate(redundancyRestored, "%d samples, the first: %s", len(short), short[0])
	}
}

// watchPartitions notes since when a member has as many living members on the far side
// of a partition as on its own.
func (w *world) watchPartitions() {
	for w.sleep(time.Second) {
		for _, h := range w.allHosts() {
			cut := w.isCutOff(h)
			w.mu.Lock()
			if _, ok := w.cutOff[h.name]; !cut {
				delete(w.cutOff, h.name)
			} else if !ok {
				w.cutOff[h.name] = time.Now()
			}
			w.mu.Unlock()
		}
	}
}

// isCutOff is whether as many living members are on the far side of a partition. A newcomer on
// the far side that was never introduced is none of them: it owns nothing yet, and the members on the near
// side need not have heard of it.
func (w *world) isCutOff(h *host) bool {
	near, far := 1, 0
	for _, other := range w.allHosts() {
		p := other.current()
		if other == h || p == nil || p.paused() {
			continue
		}
		switch {
		case w.hears(h.name, other.name) != heardNot:
			near++
		case other.introduced.Load():
			far++
		}
	}
	return far >= near
}

// noteAck books an acknowledgement, which no minority may give.
func (w *world) noteAck(member string, req request) {
	w.ledger.ack(req.samples)
	w.mu.Lock()
	since, cut := w.cutOff[member]
	w.mu.Unlock()
	if d := time.Since(since); cut && d > w.plan.forgetAfter+minoritySlack && w.isCutOff(w.host(member)) {
		w.violate(minoritySafety, "%s has been cut off for %s and acknowledges; members are forgotten after %s", member, d, w.plan.forgetAfter)
	}
}
