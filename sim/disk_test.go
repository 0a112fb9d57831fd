// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/ring"
)

// disk is what a host keeps when its process ends: the write logs of its TSDB, the
// blocks that a refill added, its identity and what it knew of other members. Hints are
// files in hintDir. A killed process leaves all of it, as the page cache would; a host
// that crashes leaves of the write logs what had reached the disk.
type disk struct {
	hintDir    string
	generation uint64 // Of the data directory: another disk, another number.
	newcomer   atomic.Bool

	mu       sync.Mutex
	wal, wbl writeLog
	blocks   map[string]*blockSeries // Durable at once: a block is synced before it is renamed.
	members  []ring.Record
	losses   []loss
	lossSeq  int
	refilled uint64 // The former disk whose data this one has been given.
	failing  bool   // Writes to the logs and of hints fail.
	low      bool   // Below the low-water mark.
}

type blockSeries struct {
	entry // Its point is not used.
	list  []point
}

// loss is a time of which the disk may lack what it was given; or, if it is a hole, what others
// acknowledged without it.
type loss struct {
	id     int
	reason string
	hole   bool
}

func newDisk(hintDir string, generation uint64) *disk {
	d := &disk{hintDir: hintDir, generation: generation, wal: newLog(), wbl: newLog(), blocks: map[string]*blockSeries{}}
	d.newcomer.Store(true)
	return d
}

// writeLog is a WAL or WBL: records, and how many of them are synced.
type writeLog struct {
	records [][]entry
	synced  int
	// broken is the first record that was written in part; -1 is none. What follows it
	// is there and unreadable: a repair cuts the log there.
	broken   int
	failures int // As the counter of the TSDB has it, for one open.
}

func newLog() writeLog { return writeLog{broken: -1} }

// write appends a record. On a failing disk a part of it may get through.
func (l *writeLog) write(rec []entry, failing bool) (ok bool) {
	if failing {
		l.failures++
		if l.broken < 0 {
			l.broken = len(l.records)
		}
		return false
	}
	l.records = append(l.records, rec)
	return true
}

// repair cuts the log where it is broken, which loads can not pass.
func (l *writeLog) repair() {
	if l.broken >= 0 {
		l.records = l.records[:l.broken]
		l.broken = -1
	}
	l.synced = min(l.synced, len(l.records))
	l.failures = 0
}

// crash drops what was not synced, from some record on: pages reach the disk in any
// number.
func (l *writeLog) crash(r *rand.Rand) {
	if left := len(l.records) - l.synced; left > 0 {
		l.records = l.records[:l.synced+r.IntN(left+1)]
	}
	if l.broken > len(l.records) {
		l.broken = -1
	}
	l.synced = len(l.records)
}

func (l *writeLog) all() []entry {
	var out []entry
	for _, rec := range l.records {
		out = append(out, rec...)
	}
	return out
}

// sync is a write-back by the kernel, or an fsync.
func (d *disk) sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wal.synced, d.wbl.synced = len(d.wal.records), len(d.wbl.records)
}

func (d *disk) setFailing(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = on
}

func (d *disk) setLow(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.low = on
}

func (d *disk) addLoss(reason string, hole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lossSeq++
	d.losses = append(d.losses, loss{id: d.lossSeq, reason: reason, hole: hole})
}

// lacksWhatItHad is whether it lost something that was acknowledged on its word; mu is held.
func (d *disk) lacksWhatItHad() bool {
	return slices.ContainsFunc(d.losses, func(l loss) bool { return !l.hole })
}

func (d *disk) lossCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.losses)
}

func (d *disk) lastLoss() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lossSeq
}

// data is what the member says of its data: whether it has holes, and what it was given.
func (d *disk) data() (holes bool, refilled uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lacksWhatItHad(), d.refilled
}

// resolve drops the losses up to an id, and notes whose data came back.
func (d *disk) resolve(upTo int, former uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refilled = max(d.refilled, former)
	var left []loss
	for _, l := range d.losses {
		if l.id > upTo {
			left = append(left, l)
		}
	}
	d.losses = left
}

// addBlock merges samples that a refill brought.
func (d *disk) addBlock(e entry, list []point) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.blocks[e.series]
	if b == nil {
		b = &blockSeries{entry: e}
		d.blocks[e.series] = b
	}
	b.list = mergePoints(b.list, list)
}
