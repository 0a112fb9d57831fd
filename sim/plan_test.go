// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// plan is what a seed stands for: a cluster, its load, and the faults.
type plan struct {
	seed         seed
	rf           int
	members      int
	zones        int
	syncs        bool // --storage.wal-sync=commit
	skewed       bool
	refuses      bool
	moves        bool // A process has another address than the one before.
	forgetAfter  time.Duration
	suspectAfter time.Duration
	interval     time.Duration
	seriesCount  int
	loss         float64
	gossipLoss   float64 // Of probes, which is how late news is.
	// lasts is how long faults come; then everything is mended and must come right.
	lasts   time.Duration
	faults  []fault
	crashes []crashKey
}

// fault is something that goes wrong at a time, for a time.
type fault struct {
	at, lasts time.Duration
	kind      faultKind
	a, b      int // Hosts, modulo how many there are.
}

type faultKind string

const (
	faultKill      faultKind = "kill"
	faultAway      faultKind = "away"       // Killed, and back after it was forgotten.
	faultRestart   faultKind = "restart"    // SIGTERM and start.
	faultRoll      faultKind = "roll"       // The same for each in turn.
	faultPause     faultKind = "pause"      // SIGSTOP
	faultIsolate   faultKind = "isolate"    // One from all others.
	faultHalves    faultKind = "halves"     // Two groups.
	faultOneWay    faultKind = "one-way"    // One link, one direction.
	faultFlap      faultKind = "flap"       // A link that comes and goes.
	faultSlow      faultKind = "slow"       // Links to one host.
	faultLoss      faultKind = "loss"       // Connections break.
	faultDisk      faultKind = "disk fails" // Writes to the logs fail.
	faultLow       faultKind = "disk low"
	faultHostCrash faultKind = "host crash"
	faultReplace   faultKind = "disk replaced"
	faultPowerCut  faultKind = "power cut of all" // Only with syncs.
	faultGrow      faultKind = "grow"
	faultClock     faultKind = "clock steps"
	faultJoinApart faultKind = "grow apart" // In no plan by chance: a member joins behind a partition.
)

// weights say how often each kind comes.
var weights = []struct {
	kind   faultKind
	weight int
}{
	{faultKill, 6},
	{faultAway, 2},
	{faultRestart, 2},
	{faultRoll, 1},
	{faultPause, 3},
	{faultIsolate, 3},
	{faultHalves, 3},
	{faultOneWay, 2},
	{faultFlap, 2},
	{faultSlow, 3},
	{faultLoss, 2},
	{faultDisk, 3},
	{faultLow, 1},
	{faultHostCrash, 3},
	{faultReplace, 3},
	{faultPowerCut, 1},
	{faultGrow, 1},
	{faultClock, 1},
}

// crashPoints are the places where a process may die; TestEveryCrashPoint dies at each.
var crashPoints = []string{
	"store.append", "store.commit.before", "store.commit.after", "store.sync.before", "store.replayed",
	"store.reopen.before", "store.reopen.after", "hint.before", "hint.torn", "hint.after", "replay.before", "replay.after",
	"ack.before", "peer.answer.before", "members.persist", "refill.read", "refill.block", "refill.done", "introduced",
}

func newPlan(s seed) plan {
	r := s.rand("plan")
	p := plan{
		seed: s, rf: 3, members: pick(r, 3, 3, 3, 4, 5), zones: pick(r, 0, 0, 3),
		syncs: r.IntN(4) == 0, skewed: r.IntN(3) == 0, refuses: r.IntN(2) == 0, moves: r.IntN(3) == 0,
		forgetAfter: between(r, 40*time.Second, 90*time.Second), suspectAfter: between(r, 3*time.Second, 8*time.Second),
		interval: between(r, 3*time.Second, 8*time.Second), seriesCount: 2 + r.IntN(6),
		loss: pick(r, 0, 0, 0.01, 0.05), lasts: between(r, 60*time.Second, 180*time.Second),
		gossipLoss: pick(r, 0, 0.2, 0.5),
	}
	for range 2 + r.IntN(5) {
		p.faults = append(p.faults, p.newFault(r))
	}
	slices.SortFunc(p.faults, func(a, b fault) int { return int(a.at - b.at) })
	for range r.IntN(3) {
		p.crashes = append(p.crashes, crashKey{point: pick(r, crashPoints...), nth: 1 + r.IntN(60)})
	}
	return p
}

func (p *plan) newFault(r *rand.Rand) fault {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	f := fault{at: between(r, 5*time.Second, p.lasts), lasts: between(r, time.Second, 45*time.Second), a: r.IntN(60), b: r.IntN(60)}
	n := r.IntN(total)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			f.kind = w.kind
			break
		}
	}
	if f.kind == faultHalves || f.kind == faultIsolate {
		f.lasts = between(r, time.Second, 2*p.forgetAfter)
	}
	return f
}

func (p *plan) zoneOf(i int) string {
	if p.zones == 0 {
		return ""
	}
	return fmt.Sprintf("z%d", i%p.zones)
}

// skewOf is how wrong a host's clock is: up to five minutes, one host of the cluster.
func (p *plan) skewOf(i int) time.Duration {
	if !p.skewed || i != 1+int(p.seed.hash("who is skewed")%3) {
		return 0
	}
	return between(p.seed.rand("skew"), -5*time.Minute, 5*time.Minute)
}

func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d members, rf %d, %d zones, syncs %v, skewed %v, forget after %s, suspect after %s, interval %s, loss %v, lasts %s\n",
		p.members, p.rf, p.zones, p.syncs, p.skewed, p.forgetAfter, p.suspectAfter, p.interval, p.loss, p.lasts)
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  at %s for %s: %s %d %d\n", f.at, f.lasts, f.kind, f.a, f.b)
	}
	for _, c := range p.crashes {
		fmt.Fprintf(&b, "  crash at %s, pass %d\n", c.point, c.nth)
	}
	return b.String()
}
