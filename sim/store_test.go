// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// store is a model of tsdbstore over a simulated disk, for one tenant: the TSDB's rules
// for what it accepts, what its write logs keep, and the fail-stop of tsdbstore. It is
// the AppenderSource of the ingest path and the Local of the querier.
type store struct {
	disk     *disk
	failStop bool // Off in a mutation.
	syncs    bool // --storage.wal-sync=commit.
	// reach is passed before and after each durable step; an error means that the
	// process is gone.
	reach func(point string) error
	note  func(format string, args ...any)

	mu         sync.Mutex
	head       *head
	ready      bool
	failed     bool
	generation uint64
	cache      map[string]cachedChunks
}

// unavailable is an error that a sender may be told.
type unavailable string

func (e unavailable) Error() string       { return string(e) }
func (e unavailable) Unavailable() string { return string(e) }

var (
	errNotReady  = unavailable("storage is replaying its write-ahead logs")
	errReopening = unavailable("storage is reopening after a failed write")
	errDiskLow   = unavailable("storage is low on disk space")
	errDead      = errors.New("the process is dead")
)

const (
	oooWindow     = 2 * 3600 * 1000
	blockDuration = 2 * 3600 * 1000
)

func newStore(d *disk, failStop, syncs bool, reach func(string) error) *store {
	return &store{disk: d, failStop: failStop, syncs: syncs, reach: reach, note: func(string, ...any) {}}
}

// open loads the write logs, after a repair if they are broken.
func (s *store) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.disk.wal.repair()
	s.disk.wbl.repair()
	s.head = newHead(oooWindow, blockDuration)
	s.head.replay(s.disk.wal.all(), s.disk.wbl.all())
	s.cache = map[string]cachedChunks{}
	s.failed, s.ready = false, true
	s.generation++
}

// mend reopens after a failed write, when the disk takes writes again.
func (s *store) mend() (reopened bool) {
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	s.disk.mu.Lock()
	room := !s.disk.failing
	s.disk.mu.Unlock()
	if !failed || !room {
		return false
	}
	if s.reach("store.reopen.before") != nil {
		return false
	}
	s.open()
	return s.reach("store.reopen.after") == nil
}

func (s *store) isFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Ready implements querier.Local.
func (s *store) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// LocalStart implements querier.Local: everything is here and nothing in a bucket.
func (s *store) LocalStart(string) int64 { return 0 }

func (s *store) Newest(string) int64 { return math.MaxInt64 }

// BlockSets implements querier.Local: it has no blocks.
func (*store) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}

// AppenderV2 implements ingest.AppenderSource.
func (s *store) AppenderV2(context.Context, string) (storage.AppenderV2, error) {
	if err := s.reach("store.append"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	low := s.disk.low
	s.disk.mu.Unlock()
	switch {
	case !s.ready:
		return nil, errNotReady
	case s.failed:
		return nil, errReopening
	case low:
		return nil, errDiskLow
	}
	return &appender{store: s, generation: s.generation, headMaxT: s.head.maxT}, nil
}

// appender is one transaction.
type appender struct {
	store      *store
	generation uint64
	headMaxT   int64
	queued     []queuedSample
	done       bool
}

type queuedSample struct {
	s *headSeries
	point
}

// Generation is that of tsdbstore's appender.
func (a *appender) Generation() uint64 { return a.generation }

// Append implements storage.AppenderV2 for floats.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, _, t int64, v float64, ih *histogram.Histogram, fh *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if ih != nil || fh != nil {
		return 0, errors.New("the model knows no histograms")
	}
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != a.generation {
		return 0, errReopening
	}
	series, err := s.head.find(ref, ls)
	if err != nil {
		return 0, err
	}
	if a.headMaxT == math.MinInt64 { // The first append to an empty head gives it its time.
		s.head.maxT = max(s.head.maxT, t)
		a.headMaxT = s.head.maxT
	}
	if _, err := s.head.verdict(series, point{t, v}, a.headMaxT); err != nil {
		return 0, err
	}
	a.queued = append(a.queued, queuedSample{series, point{t, v}})
	return series.ref, nil
}

// Commit implements storage.AppenderTransaction with the fail-stop of tsdbstore.
func (a *appender) Commit() error {
	if a.done {
		return errors.New("BUG: appender used twice")
	}
	a.done = true
	s := a.store
	if err := s.reach("store.commit.before"); err != nil {
		return err
	}
	if err := s.commit(a); err != nil {
		return err
	}
	for _, q := range a.queued {
		s.note("%s %d=%v", q.s.key, q.t, q.v)
	}
	if s.syncs {
		if err := s.reach("store.sync.before"); err != nil {
			return err
		}
		s.disk.sync()
	}
	return s.reach("store.commit.after")
}

func (s *store) commit(a *appender) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.generation != a.generation {
		// tsdbstore waits for transactions before it reopens; nothing of this one is kept.
		return errReopening
	}
	err := s.log(a)
	if !s.failStop {
		return err
	}
	if s.failed || s.disk.wal.failures+s.disk.wbl.failures > 0 {
		s.failed = true
		return errReopening
	}
	return err
}

// log is the Commit of the TSDB: the WAL, then memory, then the WBL, whose failure it
// does not tell.
func (s *store) log(a *appender) error {
	rec := make([]entry, 0, len(a.queued))
	for _, q := range a.queued {
		rec = append(rec, entry{q.s.key, q.s.lset, q.point})
	}
	if !s.disk.wal.write(rec, s.disk.failing) {
		return errors.New("write to WAL: no space left on device")
	}
	var late []entry
	for i, q := range a.queued {
		isLate, err := s.head.verdict(q.s, q.point, a.headMaxT)
		if err != nil {
			continue // As in the TSDB: another transaction was faster.
		}
		if s.head.insert(q.s, q.point, isLate) {
			late = append(late, rec[i])
		}
	}
	if len(late) > 0 {
		s.disk.wbl.write(late, s.disk.failing)
	}
	return nil
}

// Rollback implements storage.AppenderTransaction.
func (a *appender) Rollback() error {
	if a.done {
		return errors.New("BUG: appender used twice")
	}
	a.done = true
	return nil
}

func (s *store) String() string { return fmt.Sprintf("store of generation %d", s.generation) }
