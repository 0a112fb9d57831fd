// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"sync"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// redundancyWait is how long a fault that an operator makes, or that takes data, waits for
// its time. Else it does not come.
const redundancyWait = 90 * time.Second

// inject lets the faults of the plan happen, and returns when the last has begun.
func (w *world) inject() {
	started := time.Now()
	for i, f := range w.plan.faults {
		if !w.sleep(time.Until(started.Add(f.at))) {
			return
		}
		w.faulty.Add(1)
		w.background(func() {
			defer w.faulty.Add(-1)
			w.apply(i, f)
		})
	}
	w.sleep(time.Until(started.Add(w.plan.lasts)))
}

func (w *world) apply(i int, f fault) {
	hosts := w.allHosts()
	a, b := hosts[f.a%len(hosts)], hosts[f.b%len(hosts)]
	if a == b {
		b = hosts[(f.a+1)%len(hosts)]
	}
	r := w.plan.seed.rand("fault", i)
	w.events.add("%s %s (%s) for %s", f.kind, a.name, b.name, f.lasts.Round(time.Millisecond))
	switch f.kind {
	case faultKill:
		a.kill()
		a.restartAfter(f.lasts / 2)
	case faultAway:
		a.kill()
		a.restartAfter(w.plan.forgetAfter + f.lasts)
	case faultRestart:
		w.restart(a)
	case faultRoll:
		for _, h := range hosts {
			w.awaitRedundancy()
			w.restart(h)
		}
	case faultPause:
		w.pause(a, f.lasts)
	case faultIsolate, faultHalves, faultOneWay, faultFlap:
		w.partition(f, a, b, hosts)
	case faultSlow:
		w.slow(a, hosts, between(r, 50*time.Millisecond, 6*time.Second), f.lasts)
	case faultLoss:
		w.net.setLoss(0.3)
		w.sleep(f.lasts)
		w.net.setLoss(w.plan.loss)
	case faultDisk, faultLow:
		w.fillDisk(f, a, b)
	case faultHostCrash, faultReplace, faultPowerCut:
		w.loseData(i, f, a)
	case faultGrow:
		if len(hosts) < 6 && w.awaitRedundancy() {
			w.addHost().boot()
		}
	case faultJoinApart:
		w.joinApart(f, a, hosts)
	case faultClock:
		// A clock that is set while a process runs makes no time pass for it; ring tests that.
		a.setSkew(between(r, -5*time.Minute, 5*time.Minute))
		a.kill()
		a.restartAfter(time.Second)
	}
	w.events.add("%s %s is over", f.kind, a.name)
}

func (w *world) awaitRedundancy() bool { return w.await(w.redundant) }

func (w *world) await(done func() bool) bool {
	for until := time.Now().Add(redundancyWait); time.Now().Before(until); {
		if done() {
			return true
		}
		if !w.sleep(time.Second) {
			return false
		}
	}
	return false
}

// restart is SIGTERM and a start: the others are told before.
func (w *world) restart(h *host) {
	p := h.current()
	if p == nil || p.paused() || !p.store.Ready() {
		return
	}
	p.members.setState(ring.Leaving)
	w.sleep(2 * time.Second)
	p.kill() // What is in the page cache is as good as closed.
	h.restartAfter(time.Second)
}

// joinApart cuts one host from all others, lets a new member join on its side, and ends the
// partition when that one host is down.
func (w *world) joinApart(f fault, a *host, hosts []*host) {
	joiner := w.addHost()
	cut := func(on bool) {
		for _, h := range hosts {
			for _, apart := range []*host{a, joiner} {
				if h != a {
					w.net.setCut(h.name, apart.name, on)
					w.net.setCut(apart.name, h.name, on)
				}
			}
		}
	}
	cut(true)
	joiner.boot()
	w.sleep(f.lasts)
	a.kill()
	cut(false)
	for _, h := range hosts {
		if p := h.current(); p != nil {
			p.running.Go(func() { p.query(false, false) })
		}
	}
	w.sleep(f.lasts)
	a.boot()
}

func (w *world) pause(h *host, d time.Duration) {
	if p := h.current(); p != nil {
		p.pause(true)
		w.sleep(d)
		p.pause(false)
	}
}

func (w *world) partition(f fault, a, b *host, hosts []*host) {
	var links [][2]string
	both := func(x, y *host) { links = append(links, [2]string{x.name, y.name}, [2]string{y.name, x.name}) }
	switch f.kind {
	case faultOneWay:
		links = append(links, [2]string{a.name, b.name})
		if f.b%2 == 0 { // Deaf to all.
			for _, h := range hosts {
				links = append(links, [2]string{h.name, a.name})
			}
		}
	case faultFlap:
		both(a, b)
	case faultIsolate:
		for _, h := range hosts {
			if h != a {
				both(a, h)
			}
		}
	case faultHalves:
		for i, x := range hosts {
			for j, y := range hosts {
				if i < j && (f.a>>i)&1 != (f.a>>j)&1 {
					both(x, y)
				}
			}
		}
	}
	set := func(on bool) {
		for _, l := range links {
			w.net.setCut(l[0], l[1], on)
		}
	}
	times := 1
	if f.kind == faultFlap {
		times = 4
	}
	for range times {
		set(true)
		w.sleep(f.lasts / time.Duration(times))
		set(false)
		if times > 1 {
			w.sleep(3 * time.Second)
		}
	}
}

func (w *world) slow(a *host, hosts []*host, by, d time.Duration) {
	for _, h := range hosts {
		w.net.setSlow(h.name, a.name, by)
	}
	w.sleep(d)
	for _, h := range hosts {
		w.net.setSlow(h.name, a.name, 0)
	}
}

// fillDisk makes writes fail on one host or, as disks of one size do, on two at once.
func (w *world) fillDisk(f fault, a, b *host) {
	full := []*host{a}
	if f.b%2 == 0 {
		full = append(full, b)
	}
	for _, h := range full {
		if f.kind == faultLow {
			h.disk.setLow(true)
		} else {
			h.disk.setFailing(true)
		}
	}
	w.sleep(f.lasts / 2)
	for _, h := range full {
		h.disk.setLow(false)
		h.disk.setFailing(false)
	}
}

// loseData takes data that was acknowledged, within what an acknowledgement promises: of
// one host, when what others lost before has been given back to them; or of all hosts, when
// each write was synced.
func (w *world) loseData(i int, f fault, a *host) {
	r := w.plan.seed.rand("crash", i)
	if f.kind == faultPowerCut {
		if !w.plan.syncs {
			return
		}
		var all sync.WaitGroup
		for _, h := range w.allHosts() {
			all.Go(func() { h.crash(r, f.lasts/4) })
		}
		all.Wait()
		return
	}
	w.losing <- struct{}{}
	defer func() { <-w.losing }()
	if !w.await(w.repaired) {
		w.events.add("%s %s does not come: there was another one", f.kind, a.name)
		return
	}
	if f.kind == faultReplace {
		a.replace(f.lasts / 4)
	} else {
		a.crash(r, f.lasts/4)
	}
	// Often the next member fails while this one is being refilled.
	if other := w.allHosts()[f.b%len(w.allHosts())]; r.IntN(3) > 0 && other != a {
		w.sleep(between(r, 0, 5*time.Second))
		other.kill()
		other.restartAfter(between(r, time.Second, 20*time.Second))
	}
	w.await(w.repaired)
}
