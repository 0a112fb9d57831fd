// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// instance is one open of a tenant's TSDB. After a failure it is closed and a
// new instance with a higher generation takes its place.
type instance struct {
	db       *tsdb.DB
	watch    *watch
	census   *census
	reloader *reloader
	// failuresBefore is what the counters said when the open was done: nothing
	// that failed during replay concerns an acknowledgement.
	failuresBefore float64
	// wrote are the first segments that this open of the TSDB writes to.
	wrote failedFrom
	// generation tells this open from every other one of the Store; references
	// to series are good within one generation only.
	generation uint64
	// sync is nil when commits are not synced.
	sync *groupSync
	// creating is held by a transaction from its first append by labels to its end.
	creating sync.Mutex
	// committing is held by the one commit under way; see inOrder.
	committing sync.Mutex
	// failed is set once, before appends are refused.
	failed atomic.Bool
	// wedged is set besides failed when the TSDB panicked in Commit, which
	// leaves locks held that its close would wait for.
	wedged atomic.Bool
	// lastAppend is when the last commit was acknowledged, in Unix ms.
	lastAppend atomic.Int64
}

// inOrder runs one commit at a time. The TSDB writes all samples to the WAL and then
// gives them to their series. Two commits of one series could do the one in another order
// than the other: the older sample comes first in memory, where it is in order and needs
// no out-of-order log, and last in the WAL, where it is out of order and is dropped when
// the WAL is loaded. Hints that are replayed beside live writes do that.
//
// What runs one at a time is a third of the work of an append, and the WAL in it is
// written by one at a time anyway. The sync of wal-sync=commit is not part of it.
func (i *instance) inOrder(commit func() error) error {
	i.committing.Lock()
	defer i.committing.Unlock()
	return commit()
}

// openInstance opens the TSDB once. It does not retry and repairs nothing that
// the TSDB does not repair by itself.
func (t *tenant) openInstance() (_ *instance, err error) {
	defer recoverDamage(&err) // The TSDB panics over some of it.
	watch, count := newWatch(), &census{store: t.store, tenant: t.name}
	opts := t.tsdbOptions()
	opts.SeriesLifecycleCallback = count
	var reloader *reloader
	opts.NewCompactorFunc = func(ctx context.Context, r prometheus.Registerer, l *slog.Logger, ranges []int64, pool chunkenc.Pool, opts *tsdb.Options) (_ tsdb.Compactor, err error) {
		reloader, err = newReloader(ctx, r, l, ranges, pool, opts)
		return reloader, err
	}
	db, err := tsdb.Open(t.dir, quiet(t.logger), watch, opts, nil)
	if err != nil {
		count.end()
		return nil, err
	}
	// The TSDB must not cut blocks when it likes: Store.Run does.
	db.DisableCompactions()
	inst := &instance{
		db:             db,
		watch:          watch,
		census:         count,
		reloader:       reloader,
		failuresBefore: watch.writesFailed(),
		generation:     t.store.generations.Add(1),
	}
	if inst.wrote, err = newestSegments(t.dir); err != nil {
		_ = inst.close() // The error before it matters.
		return nil, err
	}
	if err := watch.verify(t.store.cfg.OutOfOrderWindow > 0); err != nil {
		_ = inst.close() // The error before it matters.
		return nil, err
	}
	if t.store.cfg.WALSync == WALSyncCommit {
		inst.sync = newGroupSync(filepath.Join(t.dir, "wal"), filepath.Join(t.dir, "wbl"))
	}
	count.limited.Store(true)
	inst.lastAppend.Store(lastAppend(db.Head(), t.store.cfg.Now().UnixMilli()))
	return inst, nil
}

// newestSegments tells the numbers of the newest segments; each open of the TSDB begins new ones.
func newestSegments(dir string) (newest failedFrom, err error) {
	for _, log := range []struct {
		name   string
		number *int
	}{{"wal", &newest.wal}, {"wbl", &newest.wbl}} {
		found, err := segments(filepath.Join(dir, log.name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return newest, fmt.Errorf("list segments: %w", err)
		}
		if len(found) > 0 {
			*log.number = found[len(found)-1]
		}
	}
	return newest, nil
}

// lastAppend guesses from the head when a replayed tenant was last heard of, so
// that restarts do not keep an idle head from being cut.
func lastAppend(head *tsdb.Head, now int64) int64 {
	newest := head.MaxTime()
	if newest == math.MinInt64 || newest > now {
		return now
	}
	return newest
}

// writesFailed tells whether a write to a log failed since the open. Read after
// Commit it is exact for that commit: a failure is counted under the lock of
// the log before the lock is given to the next writer.
func (i *instance) writesFailed() bool {
	return i.watch.writesFailed() > i.failuresBefore
}

// close closes the TSDB. A TSDB that cannot write head chunks panics; that is an
// error here, and what was acknowledged is in the logs all the same.
func (i *instance) close() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close TSDB: panic: %v", r)
		}
		i.census.end()
	}()
	if err := i.db.Close(); err != nil {
		return fmt.Errorf("close TSDB: %w", err)
	}
	return nil
}
