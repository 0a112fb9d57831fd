// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package uploader ships finished blocks of the local TSDBs to the bucket, and tells which of them the bucket holds.
//
//	<tenant dir>/<ULID>/meta.json readable          finished: TSDB renames whole blocks into place
//	        │ not in penstock.shipper.json
//	        ▼
//	Config.Compacted                                is it in the bucket by way of another block?
//	        │ no
//	        ▼
//	Bucket.PutBlock                                 idempotent, verified, meta.json last; tried again with backoff
//	        │ returned without error
//	        ▼
//	<tenant dir>/penstock.shipper.json, by rename   recorded: never uploaded again
//	        │ Config.HeldAfter later
//	        ▼
//	Held                                            the local block may go
//
// Every step can be cut off and repeated. Nothing here is on the way of a write: with the store down for hours blocks pile
// up on disk, and drain once it is back.
package uploader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Bucket is where blocks go.
type Bucket interface {
	// PutBlock uploads the block in dir. It returns nil once the whole block is visible and verified, also if it was there
	// before, and it can be called again after any error.
	PutBlock(ctx context.Context, dir string, labels map[string]string, source string) error
	// Name tells this bucket from others; it holds no secrets.
	Name() string
}

// Tenant is one local TSDB.
type Tenant struct {
	Name string
	Dir  string // Holds the blocks, and the shipper file.
}

const (
	// DefaultInterval is how soon after it was cut a block is seen. Blocks are cut every two hours, so looking is cheap
	// and nothing is gained by looking more often.
	DefaultInterval = 30 * time.Second
	// DefaultHeldAfter is how long a block stays local after its upload, so that every member's list of blocks has it
	// before any member forgets it. It must be longer than the time for which a list is trusted without being refreshed.
	DefaultHeldAfter = time.Hour
	// DefaultConcurrency is how many blocks are on their way at once: enough that one large block does not keep those of other
	// tenants waiting, and that a backlog drains at the rate of several connections.
	DefaultConcurrency = 4
	// DefaultAttempts is how often one block is tried in one pass. The next pass tries again, without end.
	DefaultAttempts = 3
	// DefaultRetryBackoff is the wait after the first failed attempt; each further one doubles it.
	DefaultRetryBackoff = time.Second
	// retryBackoffMax bounds the wait between two attempts; beyond it the next pass is soon enough.
	retryBackoffMax = 30 * time.Second
	// failuresInRowMax ends a pass: when several blocks in a row fail all their attempts, it is not the blocks.
	failuresInRowMax = 3

	labelTenant  = "tenant_id"
	labelReplica = "receive_replica"
	source       = "receive"
)

// Config is what an Uploader needs. The zero value of a duration or count is its default.
type Config struct {
	Tenants      func() []Tenant // Called once a pass.
	Bucket       Bucket
	Member       string // Name of this member; the external label receive_replica of what it uploads.
	Interval     time.Duration
	HeldAfter    time.Duration // Set it to a nanosecond for "at once".
	Concurrency  int           // Blocks that are uploaded at once, each over one connection.
	Attempts     int
	RetryBackoff time.Duration
	Now          func() time.Time
	// Compacted says whether the bucket has a block into which the given one went. Such a block is recorded and not uploaded: if
	// the shipper file is lost, the original may have been compacted and deleted since. Nil: nothing was compacted.
	Compacted func(ctx context.Context, id ulid.ULID) (bool, error)
}

// Uploader ships blocks. Its methods are safe for concurrent use.
type Uploader struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics

	passMu   sync.Mutex // One pass at a time.
	uploaded atomic.Int64

	mu       sync.Mutex
	shippers map[string]*shipper // By tenant; a tenant is here once a pass has seen it.
}

// New returns an Uploader that does nothing until Run or Sync is called. A nil registerer is allowed.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) *Uploader {
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.HeldAfter <= 0 {
		cfg.HeldAfter = DefaultHeldAfter
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = DefaultAttempts
	}
	if cfg.RetryBackoff <= 0 {
		cfg.RetryBackoff = DefaultRetryBackoff
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Uploader{cfg: cfg, logger: logger, metrics: newMetrics(reg), shippers: map[string]*shipper{}}
}

// Run looks for finished blocks at once and then every Interval, until ctx is done. What fails is logged, counted and tried
// again; it returns nil.
func (u *Uploader) Run(ctx context.Context) error {
	ticker := time.NewTicker(u.cfg.Interval)
	defer ticker.Stop()
	for {
		if _, err := u.Sync(ctx); err != nil && ctx.Err() == nil {
			u.logger.Warn("upload of blocks is incomplete and will be tried again", "pending", u.metrics.pendingNow(), "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Sync uploads every finished block that is not recorded yet, the oldest of each tenant first. It returns what it uploaded, also
// together with an error; one bad block does not keep the others back.
func (u *Uploader) Sync(ctx context.Context) ([]ulid.ULID, error) {
	u.passMu.Lock()
	defer u.passMu.Unlock()
	p := pass{Uploader: u}
	for _, t := range u.cfg.Tenants() {
		if err := p.look(t); err != nil {
			p.errs = append(p.errs, fmt.Errorf("tenant %s: %w", t.Name, err))
		}
	}
	p.run(ctx)
	u.metrics.setPending(p.pending)
	err := errors.Join(append(p.errs, ctx.Err())...)
	if err == nil {
		u.metrics.lastSuccess.Set(float64(u.cfg.Now().UnixMilli()) / 1000)
	}
	return p.uploaded, err
}

// job is one block to upload.
type job struct {
	tenant Tenant
	ship   *shipper
	id     ulid.ULID
}

// pass is the state of one Sync.
type pass struct {
	*Uploader

	mu            sync.Mutex
	jobs          []job
	uploaded      []ulid.ULID
	pending       int
	failuresInRow int
	errs          []error
}

// look finds what is to be done for a tenant.
func (p *pass) look(t Tenant) error {
	ship, err := p.shipper(t)
	if err != nil {
		return err
	}
	blocks, err := finishedBlocks(t.Dir)
	if err != nil {
		return err
	}
	ship.prune(blocks, p.cfg.Now())
	for _, id := range blocks {
		if !ship.has(id) {
			p.jobs = append(p.jobs, job{t, ship, id})
		}
	}
	return nil
}

// run does the jobs, Concurrency of them at a time, and returns when nothing of it runs any more.
func (p *pass) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range min(p.cfg.Concurrency, len(p.jobs)) {
		workers.Go(func() {
			for j, ok := p.next(ctx); ok; j, ok = p.next(ctx) {
				p.done(j, p.block(ctx, j))
			}
		})
	}
	workers.Wait()
	p.pending += len(p.jobs)
}

// next takes a job. There is none any more once it is not the blocks that are to blame.
func (p *pass) next(ctx context.Context) (j job, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) == 0 || ctx.Err() != nil || p.failuresInRow >= failuresInRowMax {
		return job{}, false
	}
	j, p.jobs = p.jobs[0], p.jobs[1:]
	return j, true
}

func (p *pass) done(j job, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.pending++
		p.failuresInRow++
		p.errs = append(p.errs, fmt.Errorf("tenant %s: %w", j.tenant.Name, err))
		return
	}
	p.failuresInRow = 0
	p.uploaded = append(p.uploaded, j.id)
}

func (p *pass) block(ctx context.Context, j job) error {
	begin := p.cfg.Now()
	if p.compacted(ctx, j) {
		return j.ship.record(j.id, p.cfg.Now())
	}
	labels := map[string]string{labelTenant: j.tenant.Name, labelReplica: p.cfg.Member}
	if err := p.put(ctx, filepath.Join(j.tenant.Dir, j.id.String()), labels); err != nil {
		return err
	}
	// The bucket holds the block whether or not this succeeds; if not, the next pass finds it there.
	if err := j.ship.record(j.id, p.cfg.Now()); err != nil {
		return err
	}
	p.Uploader.uploaded.Add(1)
	p.logger.Info("uploaded block", "tenant", j.tenant.Name, "block", j.id, "duration", p.cfg.Now().Sub(begin))
	return nil
}

// compacted says whether the samples of a block are in the bucket by way of another one. When that cannot be found out it is
// uploaded, which costs no more than the traffic.
func (p *pass) compacted(ctx context.Context, j job) bool {
	if p.cfg.Compacted == nil {
		return false
	}
	ok, err := p.cfg.Compacted(ctx, j.id)
	if err != nil || !ok {
		return false
	}
	p.logger.Info("block is in the bucket as a part of another", "tenant", j.tenant.Name, "block", j.id)
	return true
}

// put uploads with the configured number of attempts.
func (u *Uploader) put(ctx context.Context, dir string, labels map[string]string) error {
	backoff := u.cfg.RetryBackoff
	for attempt := 1; ; attempt++ {
		u.metrics.uploads.Inc()
		err := u.cfg.Bucket.PutBlock(ctx, dir, labels, source)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		u.metrics.failures.Inc()
		if attempt >= u.cfg.Attempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, retryBackoffMax)
	}
}

// Held says whether a local block may be deleted: it was verified in the bucket at least HeldAfter ago. It is false for
// tenants that no pass has seen yet, and never blocks on the bucket.
func (u *Uploader) Held(tenant string, id ulid.ULID) bool {
	u.mu.Lock()
	ship := u.shippers[tenant]
	u.mu.Unlock()
	return ship != nil && ship.heldSince(id, u.cfg.Now().Add(-u.cfg.HeldAfter))
}

// Uploaded returns the number of blocks that were uploaded since New.
func (u *Uploader) Uploaded() int { return int(u.uploaded.Load()) }

func (u *Uploader) shipper(t Tenant) (*shipper, error) {
	u.mu.Lock()
	ship := u.shippers[t.Name]
	u.mu.Unlock()
	if ship != nil && ship.dir == t.Dir {
		return ship, nil
	}
	ship, err := loadShipper(t.Dir, u.cfg.Bucket.Name(), u.logger)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	u.shippers[t.Name] = ship
	u.mu.Unlock()
	return ship, nil
}
