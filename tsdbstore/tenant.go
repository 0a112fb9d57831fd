// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// openAttemptsMax is enough for each thing that an open can mend by itself,
	// a block, the WAL, the WBL, to be mended once.
	openAttemptsMax = 4

	// Retries of a TSDB that does not open: replaying a large one again and
	// again every second would help nobody.
	openRetryFirst = time.Second
	openRetryLast  = time.Minute
)

// errWedged means that a TSDB panicked with its locks held. It can neither be
// used nor closed; only a new process, which replays its logs, can go on.
var errWedged = errors.New("the TSDB panicked and cannot be closed: the process must be restarted")

// tenant is the TSDB of one tenant through all its opens.
//
//	opening -> open <-> cutting
//	  ^          |
//	  |          v
//	  +------- failed -> closed
type tenant struct {
	store   *Store
	name    string
	dir     string
	logger  *slog.Logger
	gate    *gate
	horizon *horizon
	// inst is nil while there is no open TSDB. It is replaced only when the
	// gate is empty, so whoever is inside may keep what it loaded.
	inst    atomic.Pointer[instance]
	overdue atomic.Int64
	// everOpen is set by the first open that succeeds.
	everOpen atomic.Bool
	// opened is closed when the first attempt to open is over.
	opened chan struct{}

	// work is held to open, cut, reopen or close.
	work       sync.Mutex
	closed     bool
	openErr    error // of the last attempt
	retryAt    time.Time
	retryDelay time.Duration

	lastMend string // What Run last logged; only Run touches it.
}

func newTenant(s *Store, name string) *tenant {
	dir := filepath.Join(s.cfg.Dir, name)
	return &tenant{
		store:   s,
		name:    name,
		dir:     dir,
		logger:  s.logger.With("tenant", name),
		gate:    newGate(ErrNotReady),
		horizon: newHorizon(dir),
		opened:  make(chan struct{}),
	}
}

// firstOpen opens the TSDB and lets those who wait for it go on, whatever came of it.
func (t *tenant) firstOpen(ctx context.Context) error {
	defer close(t.opened)
	t.work.Lock()
	defer t.work.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("open TSDB of tenant %q: %w", t.name, err)
	}
	return t.open()
}

// open opens the TSDB and admits callers. t.work is held, and there is no instance.
func (t *tenant) open() error {
	if t.closed {
		return ErrClosed
	}
	start := time.Now()
	inst, err := t.openMended()
	t.openErr = err
	if err != nil {
		t.retryDelay = min(max(2*t.retryDelay, openRetryFirst), openRetryLast)
		if errors.Is(err, ErrDiskLow) {
			t.retryDelay = openRetryFirst // Found out without opening anything.
		} else {
			t.store.metrics.openFailures.Inc()
		}
		t.retryAt = time.Now().Add(t.retryDelay)
		refusal := fmt.Errorf("%w: tenant %q does not open: %w", ErrNotReady, t.name, err)
		t.gate.set(refusal, refusal)
		return fmt.Errorf("open TSDB of tenant %q: %w", t.name, err)
	}
	t.retryDelay = 0
	t.inst.Store(inst)
	t.everOpen.Store(true)
	t.gate.set(nil, nil)
	t.logger.Info("opened tenant", "series", inst.db.Head().NumSeries(), "blocks", len(inst.db.Blocks()), "seconds", time.Since(start).Seconds())
	return nil
}

// openMended opens the TSDB and sees to it that its logs are whole and fully loaded.
func (t *tenant) openMended() (*instance, error) {
	if err := t.store.disk.checkOpen(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.dir, 0o777); err != nil {
		return nil, fmt.Errorf("make tenant directory: %w", err)
	}
	if err := t.horizon.load(); err != nil {
		return nil, err
	}
	for range openAttemptsMax {
		if err := t.prepareDir(); err != nil {
			return nil, err
		}
		fromSnapshot := t.hasSnapshot()
		inst, err := t.openInstance()
		if err != nil {
			moved, moveErr := t.quarantineBlocks()
			if moved == 0 || moveErr != nil {
				return nil, errors.Join(err, moveErr)
			}
			continue
		}
		if fromSnapshot && inst.watch.skipped() {
			if err := t.discardSnapshot(inst); err != nil {
				return nil, err
			}
			continue
		}
		if !inst.watch.repaired() {
			if err := unmarkFailed(t.dir); err != nil {
				return nil, errors.Join(err, inst.close())
			}
			return inst, nil
		}
		// The TSDB stops loading where it repaired: after a repair of the WAL
		// it has read nothing of the WBL, and would delete it unread when it
		// next cuts a block. The logs are whole now, so load them again.
		t.store.metrics.walRepairs.Inc()
		t.logger.Warn("cut a damaged write log, loading it again")
		if err := errors.Join(markFailed(t.dir), inst.close()); err != nil {
			return nil, err
		}
		t.store.metrics.reopens.WithLabelValues(reopenWALRepaired).Inc()
	}
	return nil, fmt.Errorf("still damaged after %d attempts to mend it", openAttemptsMax)
}

// fail stops acknowledgements for good as far as this instance goes. The caller
// is inside the gate, so inst is the current one.
func (t *tenant) fail(inst *instance, cause error) {
	if !inst.failed.CompareAndSwap(false, true) {
		return
	}
	t.gate.refuseAppends(ErrReopening)
	t.store.metrics.walFailures.Inc()
	t.logger.Error("a write to the TSDB failed, refusing writes until it is reopened", "err", cause)
	t.store.wakeUp()
}

// mend brings a tenant back that failed or did not open; nil when it is well.
// Reads go on until there is room to reopen, and are then drained as well.
func (t *tenant) mend(ctx context.Context) error {
	t.work.Lock()
	defer t.work.Unlock()
	reason := reopenOpenFailed
	inst := t.inst.Load()
	switch {
	case t.closed, inst != nil && !inst.failed.Load():
		return nil
	case inst == nil && time.Now().Before(t.retryAt):
		return t.openErr
	case inst != nil:
		reason = reopenWriteFailed
		if err := t.retire(ctx, inst); err != nil {
			return err
		}
	}
	if err := t.open(); err != nil {
		return err
	}
	t.store.metrics.reopens.WithLabelValues(reason).Inc()
	return nil
}

// retire closes a failed instance, in the order that keeps what it acknowledged:
// room first, then the mark, then nobody inside, then the close.
func (t *tenant) retire(ctx context.Context, inst *instance) error {
	if inst.wedged.Load() {
		return fmt.Errorf("tenant %q: %w", t.name, errWedged)
	}
	if err := t.store.disk.checkOpen(); err != nil {
		return err
	}
	if err := markFailed(t.dir); err != nil {
		return err
	}
	t.gate.set(ErrReopening, ErrReopening)
	if err := t.gate.drainAll(ctx); err != nil {
		t.gate.set(ErrReopening, nil)
		return fmt.Errorf("wait for users of tenant %q: %w", t.name, err)
	}
	t.inst.Store(nil)
	if err := inst.close(); err != nil {
		t.logger.Warn("closed a failed TSDB with an error", "err", err)
	}
	return nil
}

// shut closes the TSDB for good. A TSDB that cannot be closed safely is left as
// a kill would leave it, which loses nothing that was acknowledged.
func (t *tenant) shut(ctx context.Context) error {
	t.work.Lock()
	defer t.work.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	t.gate.set(ErrClosed, ErrClosed)
	inst := t.inst.Load()
	if inst == nil {
		return nil
	}
	if inst.wedged.Load() {
		return fmt.Errorf("tenant %q: %w", t.name, errWedged)
	}
	if err := t.gate.drainAll(ctx); err != nil {
		return fmt.Errorf("tenant %q is still in use, left without a snapshot: %w", t.name, err)
	}
	// A failure can be the last thing that a leaving append found.
	if inst.failed.Load() {
		if err := markFailed(t.dir); err != nil {
			return fmt.Errorf("tenant %q failed before, left as it is: %w", t.name, err)
		}
	}
	t.inst.Store(nil)
	if err := inst.close(); err != nil {
		return fmt.Errorf("tenant %q: %w", t.name, err)
	}
	return nil
}

// headSeries is the number of series in the head.
func (t *tenant) headSeries() int {
	if inst := t.inst.Load(); inst != nil {
		return int(inst.census.count.Load())
	}
	return 0
}
