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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"golang.org/x/sync/errgroup"
)

const (
	// openConcurrency is how many TSDBs are opened or closed at once. Each
	// replay uses all processors already; a second one fills the gaps.
	openConcurrency = 2
	// closeDrain is how long Close waits for appends and queries that are
	// under way; servers are expected to have been stopped before.
	closeDrain = 10 * time.Second
)

// Store is the TSDBs of all tenants. Its methods are safe for concurrent use.
type Store struct {
	cfg         Config
	logger      *slog.Logger
	metrics     *metrics
	disk        *disk
	lock        fileutil.Releaser
	losses      *losses
	last        runState // how the last process left the directory
	created     int64    // Unix ms; before it, nothing is here
	wake        chan struct{}
	generations atomic.Uint64
	// series counts those in the heads of all open TSDBs.
	series atomic.Int64

	// listed is set once the directory was read, ready once all of it was open.
	listed, ready, closed atomic.Bool
	// unclean is set when a TSDB could not be closed as it should.
	unclean atomic.Bool

	mu      sync.RWMutex
	tenants map[string]*tenant
	// found are the tenants that Replay found on disk.
	found []*tenant
}

// Open takes the directory, and no TSDB in it: that is Replay. Its errors name
// the cause and the remedy. A nil reg registers nothing.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := takeDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg:     cfg,
		logger:  logger,
		disk:    &disk{dir: cfg.Dir, min: cfg.MinFreeBytes, measure: cfg.freeBytes},
		lock:    lock,
		wake:    make(chan struct{}, 1),
		tenants: make(map[string]*tenant),
	}
	if err := s.loadState(reg); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	return s, nil
}

// loadState reads what the last process left beside the TSDBs.
func (s *Store) loadState(reg prometheus.Registerer) (err error) {
	dir, now := s.cfg.Dir, s.cfg.Now
	_, err = os.Stat(filepath.Join(dir, storeFile))
	inUse := err == nil
	if s.created, err = loadCreated(dir, now()); err != nil {
		return err
	}
	if err := emptyRefillDir(dir); err != nil {
		return err
	}
	if s.losses, err = loadLosses(dir, now, s.logger); err != nil {
		return err
	}
	s.metrics = newMetrics(reg, s)
	return s.noteStart(inUse)
}

// takeDir makes the directory, sees that it can be written, and locks it.
func takeDir(dir string) (fileutil.Releaser, error) {
	const remedy = "choose another --storage.path, or make it writable for this user"
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("cannot make storage directory %q: %w: %s", dir, err, remedy)
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return nil, fmt.Errorf("cannot write to storage directory %q: %w: %s", dir, err, remedy)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("cannot write to storage directory %q: %w: %s", dir, err, remedy)
	}
	lock, _, err := fileutil.Flock(filepath.Join(dir, "lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("storage directory %q is in use by another process: stop it, or choose another --storage.path", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock storage directory %q: %w: %s", dir, err, remedy)
	}
	return lock, nil
}

// Replay opens the TSDB of every tenant found on disk, which replays its logs.
// It opens all it can; the error names those it could not, which Run keeps
// trying, and Ready stays false until they are open.
func (s *Store) Replay(ctx context.Context) error {
	names, err := s.tenantDirs()
	if err != nil {
		return err
	}
	s.mu.Lock()
	for _, name := range names {
		if s.tenants[name] == nil {
			t := newTenant(s, name)
			s.tenants[name] = t
			s.found = append(s.found, t)
		}
	}
	found := slices.Clone(s.found)
	s.mu.Unlock()
	s.listed.Store(true)

	var g errgroup.Group
	g.SetLimit(openConcurrency)
	errs := make([]error, len(found))
	for i, t := range found {
		g.Go(func() error {
			errs[i] = t.firstOpen(ctx)
			return nil
		})
	}
	_ = g.Wait() // Errors are in errs: one tenant does not stop the others.
	s.updateReady()
	return errors.Join(errs...)
}

// Ready is true from when every tenant found by Replay has been open once.
func (s *Store) Ready() bool { return s.ready.Load() }

// Status tells how many of the tenants found on disk have been opened.
func (s *Store) Status() (opened, total int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.found {
		if t.everOpen.Load() {
			opened++
		}
	}
	return opened, len(s.found)
}

func (s *Store) updateReady() {
	if opened, total := s.Status(); s.listed.Load() && opened == total {
		s.ready.Store(true)
	}
}

// known tells whether an unknown tenant is one that does not exist.
func (s *Store) known() error {
	switch {
	case s.closed.Load():
		return ErrClosed
	case !s.Ready():
		return ErrNotReady
	}
	return nil
}

// AppenderV2 returns an appender for a tenant, whose TSDB is made on first use.
// Errors with a method Rejected that returns true are final; all others mean
// unavailable. The appender must be committed or rolled back; its Commit is
// described at appender.Commit, and it has the methods GetRef and Generation.
func (s *Store) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	t, err := s.writable(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return t.appender(ctx)
}

// Appender returns an appender for exemplars whose series have no sample in the
// same transaction, which AppenderV2 cannot take. Errors and Commit are those of
// AppenderV2.
func (s *Store) Appender(ctx context.Context, tenant string) (storage.Appender, error) {
	t, err := s.writable(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return t.exemplarAppender(ctx)
}

// writable returns the tenant if it may be written to now, and makes it on first
// use.
func (s *Store) writable(ctx context.Context, name string) (*tenant, error) {
	if !validTenant(name) {
		return nil, &InvalidTenantError{Tenant: name}
	}
	if err := s.known(); err != nil {
		return nil, err
	}
	if err := s.disk.checkWrite(); err != nil {
		s.metrics.lowDiskRefusals.Inc()
		return nil, err
	}
	return s.findOrMake(ctx, name)
}

// FlushHead cuts the whole head of a tenant into blocks, for tests and for a
// permanent leave. Writes to it are refused as unavailable meanwhile.
func (s *Store) FlushHead(ctx context.Context, tenant string) error {
	t := s.find(tenant)
	if t == nil {
		return nil
	}
	return t.flushHead(ctx)
}

// Tenants returns the names of all tenants here, sorted.
func (s *Store) Tenants() []string {
	all := s.all()
	names := make([]string, 0, len(all))
	for _, t := range all {
		names = append(names, t.name)
	}
	return names
}

// HeadSeries is the number of series in the head of a tenant: what Limits.MaxSeries
// bounds. It is 0 for an unknown one.
func (s *Store) HeadSeries(tenant string) int {
	if t := s.find(tenant); t != nil {
		return t.headSeries()
	}
	return 0
}

// TenantDir is where the blocks of a tenant are.
func (s *Store) TenantDir(tenant string) string { return filepath.Join(s.cfg.Dir, tenant) }

// Close refuses everything, waits a bounded time for what is under way, and
// closes every TSDB with a snapshot of its head. Run must have ended.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeDrain)
	defer cancel()
	all := s.all()
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(openConcurrency)
	for i, t := range all {
		g.Go(func() error {
			errs[i] = t.shut(ctx)
			return nil
		})
	}
	_ = g.Wait() // Errors are in errs.
	err := errors.Join(errs...)
	if err == nil && !s.unclean.Load() {
		err = s.noteStop()
	}
	return errors.Join(err, s.lock.Release())
}

func (s *Store) find(name string) *tenant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tenants[name]
}

// findOrMake waits for a first open that is under way: a second request for a
// new tenant is as good as the first.
func (s *Store) findOrMake(ctx context.Context, name string) (*tenant, error) {
	t, made, err := s.claim(name)
	if err != nil {
		return nil, err
	}
	if made {
		// The tenant is for all, so it does not end with this request.
		if err := t.firstOpen(context.WithoutCancel(ctx)); err != nil {
			s.wakeUp()
			return nil, err
		}
		return t, nil
	}
	select {
	case <-t.opened:
		return t, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// claim finds a tenant or enters a new one, which the caller then opens.
func (s *Store) claim(name string) (t *tenant, made bool, err error) {
	if t := s.find(name); t != nil {
		return t, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tenants[name]; t != nil {
		return t, false, nil
	}
	if s.closed.Load() {
		return nil, false, ErrClosed
	}
	if limit := s.cfg.Limits(name).MaxTenants; len(s.tenants) >= limit {
		s.metrics.tenantsRefused.Inc()
		return nil, false, &TenantLimitError{Tenant: name, Limit: limit}
	}
	t = newTenant(s, name)
	s.tenants[name] = t
	return t, true, nil
}

// tenantCount is how many tenants there are.
func (s *Store) tenantCount() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.tenants)
}

// all returns the tenants sorted by name.
func (s *Store) all() []*tenant {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*tenant, 0, len(s.tenants))
	for _, t := range s.tenants {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *tenant) int { return strings.Compare(a.name, b.name) })
	return all
}
