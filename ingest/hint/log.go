// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// DefaultMaxBytes holds the default age at 200 KiB/s of compressed writes,
	// about 100,000 samples a second, to one member that is down.
	DefaultMaxBytes = 1 << 30
	// DefaultMaxAge is the default out-of-order window less half an hour. A TSDB
	// measures its window from its newest sample, which live writes move on
	// while the hints are being replayed.
	DefaultMaxAge = 90 * time.Minute

	// segmentBytes is how much disk comes back at a time as a replay goes on.
	segmentBytes = 16 << 20
	// sweepInterval is how often appends look for segments that are too old.
	sweepInterval = time.Minute
)

var (
	// ErrFull is returned when a hint would exceed Config.MaxBytes.
	ErrFull = errors.New("hint log is full")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("hint log is closed")
)

// Config is what a Log needs to know. The zero value of a field means its default.
type Config struct {
	// Dir holds one directory for each member. Required.
	Dir string
	// MaxBytes bounds the segments of all members on disk together. A hint that
	// does not fit is refused; older ones are not dropped for it.
	MaxBytes int64
	// MaxAge is the age from which a hint is dropped instead of sent.
	MaxAge time.Duration
	// Sync makes Append return only when the hint survives a power loss;
	// without, it survives the death of the process.
	Sync bool
	// BootID names this start of the host. Without Sync it is what tells that the host crashed, and
	// that hints may be lost; a debt says of whom. Empty where it cannot be told.
	BootID string
	// Room returns an error while the disk has no room for hints: what is left is
	// needed by what was accepted before. Nil: it always has.
	Room func() error
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Stats tell what waits for one member.
type Stats struct {
	Records int
	Bytes   int64
	// Oldest is when the first that waits was written.
	Oldest time.Time
}

// Log is the hints for all members. Its methods are safe for concurrent use.
type Log struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	used    atomic.Int64 // Bytes of segments on disk.
	debts   *debts
	// unsynced may be nil.
	unsynced *unsynced
	swept    atomic.Int64 // When appends last looked for old segments, in Unix ms.

	mu      sync.RWMutex
	members map[string]*memberLog
	closed  bool
}

// Open finds the hints that an earlier process left. Its errors name the cause
// and the remedy. A nil reg registers nothing.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Log, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory given for hints")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.MaxBytes < 0 || cfg.MaxAge < 0 {
		return nil, fmt.Errorf("hint bounds must not be negative: %d bytes, %s", cfg.MaxBytes, cfg.MaxAge)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Dir, 0o777); err != nil {
		return nil, fmt.Errorf("cannot make hint directory %q: %w: make its parent writable for this user", cfg.Dir, err)
	}
	debts, err := loadDebts(cfg.Dir, logger)
	if err != nil {
		return nil, err
	}
	unsynced, err := openUnsynced(cfg, debts, logger)
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, logger: logger, members: make(map[string]*memberLog), debts: debts, unsynced: unsynced}
	l.metrics = newMetrics(reg, l)
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list hint directory: %w", err)
	}
	for _, entry := range entries {
		name, ok := memberName(entry.Name())
		if !ok || !entry.IsDir() {
			continue
		}
		m := newMemberLog(l, name, filepath.Join(cfg.Dir, entry.Name()))
		if err := m.load(); err != nil {
			return nil, fmt.Errorf("cannot read hints for member %q: %w", name, err)
		}
		l.members[name] = m
	}
	return l, nil
}

// Append keeps payload for the member; it is on disk when Append returns nil, and
// payload is the caller's again. An error means that it is not kept, which is counted.
func (l *Log) Append(member string, payload []byte) error {
	if len(payload) == 0 || len(payload) > PayloadBytesMax {
		now := l.cfg.Now()
		l.debts.add(member, now, now, dropTooLarge)
		return fmt.Errorf("hint of %d bytes, want 1 to %d", len(payload), PayloadBytesMax)
	}
	now := l.cfg.Now()
	m, err := l.findOrMake(member)
	if err != nil {
		l.metrics.dropped.WithLabelValues(member, dropWriteError).Inc()
		l.debts.add(member, now, now, dropWriteError)
		return err
	}
	if l.cfg.Room != nil {
		if err := l.cfg.Room(); err != nil {
			l.metrics.dropped.WithLabelValues(member, dropDisk).Inc()
			l.debts.add(member, now, now, dropDisk)
			return fmt.Errorf("no room for hints: %w", err)
		}
	}
	l.sweepNow(now, false)
	need := int64(recordOverhead + len(payload))
	if !l.reserve(need) {
		l.sweepNow(now, true)
		if !l.reserve(need) {
			l.metrics.dropped.WithLabelValues(member, dropFull).Inc()
			l.debts.add(member, now, now, dropFull)
			return fmt.Errorf("%w: %d of %d bytes are in use", ErrFull, l.used.Load(), l.cfg.MaxBytes)
		}
	}
	if err := m.append(payload, now); err != nil {
		l.used.Add(-need)
		l.metrics.dropped.WithLabelValues(member, dropWriteError).Inc()
		l.debts.add(member, now, now, dropWriteError)
		return fmt.Errorf("append hint for member %q: %w", member, err)
	}
	l.metrics.appended.WithLabelValues(member).Inc()
	return nil
}

// Pending tells what waits, for each member for which something does. Of the others it notes that
// nothing can be lost any more.
func (l *Log) Pending() map[string]Stats {
	pending := l.stats()
	now := l.cfg.Now()
	for _, m := range l.all() {
		if pending[m.name].Records == 0 {
			delete(pending, m.name)
			m.settle(now)
		}
	}
	return pending
}

// Replay sends the hints that waited for the member when it was called, oldest
// first, and returns how many were sent. It stops at the first error of send, and
// the next Replay begins with that hint. A nil of send commits the hint: it must
// mean that the member has the write for good, or refused it for good.
//
// One replay runs for a member at a time; a second one waits. Append goes on
// meanwhile. The payload is valid until send returns.
func (l *Log) Replay(ctx context.Context, member string, send func(ctx context.Context, payload []byte) error) (int, error) {
	l.mu.RLock()
	m := l.members[member]
	l.mu.RUnlock()
	if m == nil {
		return 0, nil
	}
	n, err := m.replay(ctx, send)
	if err != nil {
		l.metrics.replayErrs.WithLabelValues(member).Inc()
		return n, fmt.Errorf("replay hints for member %q: %w", member, err)
	}
	return n, nil
}

// Close waits for replays, whose contexts should have ended, and closes the files, synced.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	members := l.members
	l.mu.Unlock()
	var errs []error
	for _, m := range members {
		errs = append(errs, m.close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.unsynced.clear()
}

// findOrMake returns the log of a member, new or not.
func (l *Log) findOrMake(name string) (*memberLog, error) {
	l.mu.RLock()
	m, closed := l.members[name], l.closed
	l.mu.RUnlock()
	if m != nil && !closed {
		return m, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if m := l.members[name]; m != nil {
		return m, nil
	}
	dir, err := dirName(name)
	if err != nil {
		return nil, err
	}
	m = newMemberLog(l, name, filepath.Join(l.cfg.Dir, dir))
	if err := os.MkdirAll(m.dir, 0o777); err != nil {
		return nil, fmt.Errorf("make hint directory: %w", err)
	}
	if l.cfg.Sync {
		if err := syncDir(l.cfg.Dir); err != nil {
			return nil, fmt.Errorf("sync hint directory: %w", err)
		}
	}
	l.members[name] = m
	return m, nil
}

// reserve takes n bytes of the bound.
func (l *Log) reserve(n int64) bool {
	if l.used.Add(n) <= l.cfg.MaxBytes {
		return true
	}
	l.used.Add(-n)
	return false
}

// sweepNow drops whole segments that are too old, of members that nobody replays.
func (l *Log) sweepNow(now time.Time, force bool) {
	last := l.swept.Load()
	if !force && now.UnixMilli()-last < sweepInterval.Milliseconds() {
		return
	}
	if !l.swept.CompareAndSwap(last, now.UnixMilli()) && !force {
		return // Somebody else does.
	}
	for _, m := range l.all() {
		m.sweep(now.Add(-l.cfg.MaxAge))
	}
}

func (l *Log) stats() map[string]Stats {
	stats := make(map[string]Stats)
	for _, m := range l.all() {
		stats[m.name] = m.stats()
	}
	return stats
}

func (l *Log) all() []*memberLog {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]*memberLog, 0, len(l.members))
	for _, m := range l.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *memberLog) int { return strings.Compare(a.name, b.name) })
	return all
}
