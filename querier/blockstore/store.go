// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package blockstore answers queries from the blocks in the bucket. It reads no more of them than it needs.
//
//	Run: every SyncInterval             Querier(tenant, mint, maxt)
//	bucket.Blocks.Metas                       │ takes the current view, once
//	        │ marks, duplicates, tenants      ▼
//	        ▼                            candidates: the tenant's blocks in the range
//	      view, immutable ─────────────►      │ Select: narrowed by hints and by external labels
//	                                          ▼
//	                                     a selection for each block, several at the same time:
//	                                     TSDB's block querier and index reader ask, postings, series and chunks are fetched
//	                                          │ pages that are missing
//	                                          ▼
//	                                     cache: a sparse file for each block, bounded, kept over restarts
//	                                          │ range requests, neighbouring pages in one, no page twice
//	                                          ▼
//	                                     external labels added, merged: each sample once
//
// Blocks of several members that hold copies of the same series are merged without loss. A block that is needed and cannot
// be had is an error that names it: an answer is never short without saying so. When a block is gone from the bucket the
// question is asked once more, of the blocks that are there now.
package blockstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// DefaultSyncInterval is how often the bucket is listed: one request for every thousand objects.
	DefaultSyncInterval = 3 * time.Minute
	// DefaultMaxStale is for how long a listing is trusted when the bucket cannot be listed again. Queries fail
	// beyond it. It must be shorter than the time that members keep a block after its upload, or else a block might be in
	// no member's TSDB and not yet in this list.
	DefaultMaxStale = 45 * time.Minute
	// DefaultMaxBytes holds a few hundred 2h blocks of 100k series, if all of them is queried.
	DefaultMaxBytes = 10 << 30
	// DefaultMaxQueryBytes is some 500 million samples as they are stored, ten times what the engine's default lets a query hold.
	DefaultMaxQueryBytes = 1 << 30
	// retryFirst is how soon the bucket is listed again when that failed. Each further failure doubles it, up to SyncInterval: a
	// member that was started while the store was down has no answers before it was listed.
	retryFirst = time.Second
	// freshEnough is how old a list may be for a question that is asked again because a block was gone.
	freshEnough = 5 * time.Second
	// DefaultTenant is the tenant of blocks that have none; it is Thanos' name for it.
	DefaultTenant = "default-tenant"

	// FlagMaxBytes and FlagMaxQueryBytes are the flags that set Config.MaxBytes and Config.MaxQueryBytes. Errors name them.
	FlagMaxBytes      = "query.block-cache-bytes"
	FlagMaxQueryBytes = "query.max-block-bytes"
)

var errNotListed = errors.New("the bucket was not listed yet")

// Config is what a Store needs. Zero values are defaults, except for Blocks and Dir.
type Config struct {
	Blocks        *bucket.Blocks
	Dir           string // For pages of blocks; nothing else may be in it. It is created.
	MaxBytes      int64  // Bound of the pages in Dir.
	MaxQueryBytes int64  // Bound of what one query reads, whether it is in Dir or not, without what it takes to open blocks. See WithBudget.
	DefaultTenant string
	SyncInterval  time.Duration
	MaxStale      time.Duration
	// List returns what is in the bucket as of the listing's time, which may be a while ago. Run asks it in place of listing the
	// bucket. Nil: the bucket is listed.
	List func(context.Context) (bucket.Listing, error)
	// MergeSeries and MergeChunks merge copies of one series. The default of the first takes either copy where two have a
	// sample of the same time; whoever has a rule for copies that differ gives it here. The default of the second merges
	// chunks that overlap by MergeSeries, and passes on the others as they are.
	MergeSeries storage.VerticalSeriesMergeFunc
	MergeChunks storage.VerticalChunkSeriesMergeFunc
	// Pool makes chunks of their encoding and bytes. The default knows those of Prometheus and downsampled ones.
	Pool chunkenc.Pool
	Now  func() time.Time

	guesses *guesses // Nil are the default ones.
	retry   time.Duration
}

// Store answers queries from the bucket. Its methods are safe for concurrent use.
type Store struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	cache   *cache

	syncMu  sync.Mutex   // One listing at a time.
	syncs   atomic.Int64 // Listings that were begun.
	view    atomic.Pointer[view]
	lastErr atomic.Pointer[error] // Of the last listing; nil when it succeeded.
	tried   chan struct{}         // Closed after the first listing of Run.
}

// New takes over the pages that a former process left in Dir. Nothing can be queried before the first Sync.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.MaxQueryBytes <= 0 {
		cfg.MaxQueryBytes = DefaultMaxQueryBytes
	}
	if cfg.Pool == nil {
		cfg.Pool = downsample.NewPool()
	}
	if cfg.DefaultTenant == "" {
		cfg.DefaultTenant = DefaultTenant
	}
	if cfg.SyncInterval <= 0 {
		cfg.SyncInterval = DefaultSyncInterval
	}
	if cfg.MaxStale <= 0 {
		cfg.MaxStale = DefaultMaxStale
	}
	if cfg.MergeSeries == nil {
		cfg.MergeSeries = storage.ChainedSeriesMerge
	}
	if cfg.MergeChunks == nil {
		cfg.MergeChunks = storage.NewCompactingChunkSeriesMerger(cfg.MergeSeries)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if cfg.retry <= 0 {
		cfg.retry = retryFirst
	}
	if cfg.guesses == nil {
		g := defaultGuesses()
		cfg.guesses = &g
	}
	m := newMetrics(reg)
	c, err := newCache(cacheConfig{
		dir: cfg.Dir, maxBytes: cfg.MaxBytes, read: cfg.Blocks.ReadFull, now: cfg.Now, guesses: *cfg.guesses,
	}, logger, m)
	if err != nil {
		return nil, fmt.Errorf("open block store: %w", err)
	}
	return &Store{cfg: cfg, logger: logger, metrics: m, cache: c, tried: make(chan struct{})}, nil
}

// Run lists the bucket at once and then every SyncInterval, until ctx is done. A listing that fails is logged and counted,
// and tried again sooner, while the blocks of the one before stay; it returns nil. It may run once.
func (s *Store) Run(ctx context.Context) error {
	first := sync.OnceFunc(func() { close(s.tried) })
	retry := s.cfg.retry
	for {
		wait := s.cfg.SyncInterval
		if err := s.refresh(ctx); err == nil {
			retry = s.cfg.retry
		} else if ctx.Err() == nil {
			wait = min(wait, retry)
			retry *= 2
			s.logger.Warn("cannot list the bucket; queries go on with the blocks known", "bucket", s.cfg.Blocks.Name(), "retry_in", wait, "err", err)
		}
		first()
		s.cache.closeIdle()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Sync lists the bucket once.
func (s *Store) Sync(ctx context.Context) error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	return s.sync(ctx)
}

// sync lists the bucket. The caller holds syncMu.
func (s *Store) sync(ctx context.Context) error {
	number, begin := s.syncs.Add(1), s.cfg.Now()
	listing, err := s.cfg.Blocks.Metas(ctx)
	listing.At = begin
	return s.take(listing, number, err)
}

// refresh is Sync by way of Config.List, once the bucket was listed: what a member that starts knows must not be older than
// what it was told when it last ran.
func (s *Store) refresh(ctx context.Context) error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	old := s.view.Load()
	if s.cfg.List == nil || old == nil {
		return s.sync(ctx)
	}
	listing, err := s.cfg.List(ctx)
	return s.take(listing, old.number, err)
}

// take makes a listing the view, unless the view is of a newer one. The caller holds syncMu.
func (s *Store) take(listing bucket.Listing, number int64, err error) error {
	s.metrics.syncs.Inc()
	if err != nil {
		s.metrics.syncFailures.Inc()
		s.lastErr.Store(&err)
		return err
	}
	for _, p := range listing.Problems {
		s.logger.Warn("an object in the bucket cannot be understood and is left out", "err", p)
	}
	s.lastErr.Store(nil)
	if old := s.view.Load(); old != nil && listing.At.Before(old.listed) {
		return nil
	}
	v := newView(listing, s.cfg.Blocks.Files, s.cfg.DefaultTenant, s.cfg.Now())
	v.listed, v.number = listing.At, number
	s.view.Store(v)
	s.cache.retain(v.ids)
	s.metrics.blocks.Set(float64(len(v.ids)))
	s.metrics.problems.Set(float64(len(listing.Problems)))
	s.metrics.lastSync.Set(float64(listing.At.UnixMilli()) / 1000)
	return nil
}

// Len returns the number of blocks that queries can see.
func (s *Store) Len() int {
	if v := s.view.Load(); v != nil {
		return len(v.ids)
	}
	return 0
}

// Tried is closed once Run has listed the bucket for the first time, or failed to.
func (s *Store) Tried() <-chan struct{} { return s.tried }

// Synced says whether the bucket was listed at least once.
func (s *Store) Synced() bool { return s.view.Load() != nil }

// Empty tells whether the bucket surely has no block of a tenant in the closed interval [mint, maxt], in ms: as surely as Querier would
// find none.
func (s *Store) Empty(tenant string, mint, maxt int64) bool {
	v, err := s.current()
	return err == nil && len(v.overlapping(tenant, mint, maxt)) == 0
}

// Version names what is known of a tenant's blocks in the closed interval [mint, maxt], in ms: it is another one when some were added,
// taken away or made anew. raw is whether no downsampled block is read for that time, unless a question wants it.
func (s *Store) Version(tenant string, mint, maxt int64) (version uint64, raw bool) {
	v := s.view.Load()
	if v == nil {
		return 0, true
	}
	return v.version(tenant, mint, maxt), v.raw(tenant, mint, maxt)
}

// Querier returns a querier over the tenant's blocks in [mint, maxt], in ms. Blocks are fetched when it is asked, under the
// context of the asking. It fails when the list of blocks is missing or too old to be trusted.
func (s *Store) Querier(tenant string, mint, maxt int64) (storage.Querier, error) {
	v, err := s.current()
	if err != nil {
		return nil, err
	}
	return &querier{s.newQuestions(v, tenant, mint, maxt)}, nil
}

// ChunkQuerier is Querier for chunks.
func (s *Store) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	v, err := s.current()
	if err != nil {
		return nil, err
	}
	return &chunkQuerier{s.newQuestions(v, tenant, mint, maxt)}, nil
}

// current returns the list of blocks, if it can be trusted.
func (s *Store) current() (*view, error) {
	v := s.view.Load()
	cause := errNotListed
	if p := s.lastErr.Load(); p != nil {
		cause = *p
	}
	if v == nil {
		return nil, fmt.Errorf("the blocks of %s are not known yet: %w", s.cfg.Blocks.Name(), cause)
	}
	if age := s.cfg.Now().Sub(v.listed); age > s.cfg.MaxStale {
		return nil, fmt.Errorf("the list of blocks of %s is %s old, more than %s, and may be incomplete: %w",
			s.cfg.Blocks.Name(), age.Truncate(time.Second), s.cfg.MaxStale, cause)
	}
	return v, nil
}

// fresh returns a list of blocks that was begun after it was called, or just before. Who asks at the same time gets the same:
// a block whose objects are lost must not cost a listing for each query that needs it.
func (s *Store) fresh(ctx context.Context) (*view, error) {
	begun := s.syncs.Load()
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	if v := s.view.Load(); v.number > begun || s.cfg.Now().Sub(v.listed) < freshEnough {
		return v, nil
	}
	if err := s.sync(ctx); err != nil {
		return nil, err
	}
	return s.view.Load(), nil
}

// Close waits for requests that are under way and closes all blocks. Queriers must be closed before.
func (s *Store) Close() error { return s.cache.close() }
