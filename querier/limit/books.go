// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
)

// Usage is what the process uses of memory.
type Usage struct {
	// Bytes were in use when garbage was last collected; Limit is the most that may be. 0: there is none.
	Bytes, Limit int64
	// Collections is how often garbage was collected.
	Collections uint64
}

// Config configures Books.
type Config struct {
	// LimitsOf returns the limits of a tenant. It is asked once a query. Nil: Defaults.
	LimitsOf func(tenant string) Limits
	// Tenant returns whose a request is. Requests for which it fails are passed on, for others to refuse.
	Tenant func(*http.Request) (string, error)
	// MaxConcurrency bounds the queries that run at a time. 0: DefaultConcurrency.
	MaxConcurrency int
	// QueueWait is how long further ones wait. 0: DefaultQueueWait.
	QueueWait time.Duration
	// SlowThreshold is from when on a query is logged; 0 is never.
	SlowThreshold time.Duration
	// Memory tells the usage; nil: it is never short.
	Memory func() Usage
	// MemoryLimit is that of the process, if there is one: a part of it is the limit of queries whose tenant has none.
	MemoryLimit int64
	// Cores are those of the process. 0: as the runtime says.
	Cores int
	// Parser is the engine's; nil is one without experimental functions.
	Parser parser.Parser
	// Fresh returns the context for a query that is begun again, when something in its context counts what was done for it. Nil: nothing does.
	Fresh func(context.Context) context.Context
	Now   func() time.Time
}

// Books keep the accounts of the queries that run here. Safe for concurrent use.
type Books struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	door    *door
	turns   *turns
	line    line
	freed   atomic.Bool  // A heavy query gave up what it held, and we have not had garbage collected since.
	held    atomic.Int64 // By all accounts that are open.

	measured atomic.Pointer[measure] // By Run; nil before.

	mu   sync.Mutex
	open map[uint64]*Account
	last uint64
}

// New returns Books without accounts. Run must run for memory to be watched. The registerer may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) *Books {
	if cfg.LimitsOf == nil {
		cfg.LimitsOf = func(string) Limits { return Defaults() }
	}
	if cfg.MaxConcurrency <= 0 {
		cfg.MaxConcurrency = DefaultConcurrency
	}
	if cfg.QueueWait <= 0 {
		cfg.QueueWait = DefaultQueueWait
	}
	if cfg.Parser == nil {
		cfg.Parser = parser.NewParser(parser.Options{})
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := &Books{
		cfg: cfg, logger: logger, open: map[uint64]*Account{},
		door:  newDoor(cfg.MaxConcurrency, cfg.QueueWait),
		turns: newTurns(cfg.Cores, cfg.Now),
	}
	b.metrics = newMetrics(b, reg)
	return b
}

// account opens an account, whose context is returned with what closes it. The query ends with its time.
func (b *Books) account(ctx context.Context, a *Account) (context.Context, func()) {
	a.books, a.started = b, b.cfg.Now()
	b.mu.Lock()
	b.last++
	a.id = b.last
	b.open[a.id] = a
	b.mu.Unlock()
	ctx, detach := a.attach(context.WithValue(ctx, accountKey{}, a))
	var timer *time.Timer
	if a.limits.Timeout > 0 {
		timer = time.AfterFunc(a.limits.Timeout, func() { _ = a.end(timedOut(a.limits.Timeout)) })
	}
	return ctx, func() {
		if timer != nil {
			timer.Stop()
		}
		detach()
		b.mu.Lock()
		delete(b.open, a.id)
		b.mu.Unlock()
		held := a.memory.Load()
		b.held.Add(-held)
		if held >= heavyMin {
			b.freed.Store(true)
		}
		b.line.leave(a)
	}
}

// accounts returns those that are open.
func (b *Books) accounts() []*Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*Account, 0, len(b.open))
	for _, a := range b.open {
		all = append(all, a)
	}
	return all
}
