// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// host is a machine: a name, a clock, a disk, and at most one process.
type host struct {
	w    *world
	name string
	zone string

	mu      sync.Mutex
	disk    *disk
	disks   int
	runs    int
	boots   int // Of the machine.
	skew    time.Duration
	proc    *process
	last    *process // The one before; its end is awaited.
	owed    bool     // The disk was changed for an empty one, and others knew the one before.
	booting bool
	off     bool // The machine is down or its disk is being changed: nothing boots.

	introduced atomic.Bool // Once, with any disk.
}

func (w *world) newHost(i int) *host {
	h := &host{w: w, name: fmt.Sprintf("m%d", i), zone: w.plan.zoneOf(i), skew: w.plan.skewOf(i)}
	h.disk = h.newDisk()
	return h
}

// newDisk returns an empty disk.
func (h *host) newDisk() *disk {
	h.disks++
	dir := filepath.Join(h.w.dir, fmt.Sprintf("%s-%d", h.name, h.disks))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	return newDisk(dir, uint64(time.Now().Add(h.skew).UnixNano())) //nolint:gosec // After 1970.
}

func (h *host) current() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proc
}

func (h *host) isOff() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.off
}

// forget notes that a process is dead.
func (h *host) forget(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc == p {
		h.proc, h.last = nil, p
	}
}

// boot starts a process, if there is none and the machine is up. It waits for the
// remains of the one before.
func (h *host) boot() {
	h.mu.Lock()
	if h.proc != nil || h.booting || h.off || h.w.ctx.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.booting = true
	h.runs++
	last := h.last
	p := &process{
		w: h.w, host: h, disk: h.disk, skew: h.skew, addr: h.name + ".1", run: h.runs, bootID: fmt.Sprint(h.boots),
		died: make(chan struct{}), gone: make(chan struct{}),
	}
	if h.w.plan.moves {
		p.addr = fmt.Sprintf("%s.%d", h.name, h.runs)
	}
	h.mu.Unlock()
	if last != nil {
		<-last.gone
		if h.w.plan.seed.chance(0.5, "position", h.name, p.run) {
			forgetPositions(p.disk.hintDir)
		}
	}
	if err := p.start(h.w.ctx); err != nil {
		panic(err)
	}
	h.mu.Lock()
	h.proc, h.booting = p, false
	h.mu.Unlock()
	h.w.events.add("%s starts for the %d. time", h.name, p.run)
	h.w.readAfterStart(p.run, h.name)
}

// restartLater boots after a while.
func (h *host) restartLater(r *rand.Rand) {
	h.restartAfter(between(r, 500*time.Millisecond, 15*time.Second))
}

func (h *host) restartAfter(d time.Duration) {
	h.w.background(func() {
		if h.w.sleep(d) {
			h.boot()
		}
	})
}

// kill ends the process; what it gave to the kernel stays.
func (h *host) kill() {
	if p := h.current(); p != nil {
		p.kill()
	}
}

// down turns the machine off and returns when nothing of it runs.
func (h *host) down() {
	h.mu.Lock()
	h.off = true
	p := h.proc
	if p == nil {
		p = h.last
	}
	h.mu.Unlock()
	if p != nil {
		p.kill()
		<-p.gone
	}
}

// up turns the machine on.
func (h *host) up() {
	h.mu.Lock()
	h.off = false
	h.mu.Unlock()
	h.boot()
}

// crash is a power cut: what was not synced is lost, and the machine is up again later.
func (h *host) crash(r *rand.Rand, later time.Duration) {
	h.down()
	h.mu.Lock()
	h.boots++
	h.mu.Unlock()
	if !h.w.plan.syncs {
		h.disk.mu.Lock()
		h.disk.wal.crash(r)
		h.disk.wbl.crash(r)
		h.disk.mu.Unlock()
		h.disk.addLoss("host crash", false)
		h.dropHints(r)
	}
	if h.w.sleep(later) {
		h.up()
	}
}

// dropHints takes from the hint segments what had not reached the disk: their ends.
func (h *host) dropHints(r *rand.Rand) {
	for _, file := range segments(h.disk.hintDir) {
		info, err := os.Stat(file)
		if err != nil {
			panic(err)
		}
		if err := os.Truncate(file, r.Int64N(info.Size()+1)); err != nil {
			panic(err)
		}
	}
}

// replace gives the machine an empty disk.
func (h *host) replace(later time.Duration) {
	h.down()
	if len(segments(h.disk.hintDir)) > 0 {
		h.w.hintLost(h.name, "", "disk replaced")
	}
	known := h.w.known(h.name)
	fresh := h.newDisk()
	h.mu.Lock()
	h.disk, h.owed = fresh, h.owed || known
	h.mu.Unlock()
	if h.w.sleep(later) {
		h.up()
	}
}

// repaired is whether the disk lacks nothing that it, or the one before it, had.
func (h *host) repaired() bool {
	h.mu.Lock()
	disk, owed := h.disk, h.owed
	h.mu.Unlock()
	holes, refilled := disk.data()
	return !holes && (!owed || refilled > 0)
}

func (h *host) setSkew(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.skew = d
}

// replayTime is how long the write logs take to load.
func (h *host) replayTime() time.Duration {
	if h.w.plan.seed.chance(0.4, "no replay", h.name, h.runs) {
		return 0
	}
	return time.Duration(h.w.plan.seed.hash("replay", h.name, h.runs) % uint64(4*time.Second)) //nolint:gosec // Small.
}

// writesBack is whether the kernel syncs the write logs now, as it does now and then.
func (h *host) writesBack() bool {
	return h.w.plan.seed.chance(0.05, "writeback", h.name, time.Now())
}
