// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
)

const (
	// DefaultPeerTimeout is longer than a loaded peer needs to look up the postings of an expensive
	// matcher, and shorter than the engine's default query timeout of two minutes, so that a peer that hangs makes an answer
	// slow and not void. Gossip notices a dead peer in a few seconds and later queries do not wait for it.
	DefaultPeerTimeout = 15 * time.Second
	// DefaultMaxPeerBytes holds the chunks of about 100 million samples, twice what the engine's default
	// sample limit lets a query touch.
	DefaultMaxPeerBytes = 256 << 20
)

// Local is this member's own store of TSDBs, one per tenant. A tenant that it does not know has no series;
// asking never creates one. It must be safe for concurrent use.
type Local interface {
	Querier(tenant string, mint, maxt int64) (storage.Querier, error)
	ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error)
	ExemplarQuerier(ctx context.Context, tenant string) (storage.ExemplarQuerier, error)
	// LocalStart returns since when, in milliseconds, the store holds everything that it was given.
	LocalStart(tenant string) int64
	// Newest returns a time in milliseconds after which it has no sample of a tenant that was acknowledged before; the end of time if it
	// does not know.
	Newest(tenant string) int64
	// Ready returns false while TSDBs are being opened, when an answer would be short.
	Ready() bool
	BlockLister
}

// Blocks is what the bucket holds. It must be safe for concurrent use.
type Blocks interface {
	Querier(tenant string, mint, maxt int64) (storage.Querier, error)
	ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error)
	// Empty tells without asking the bucket whether there is surely nothing of a tenant in [mint, maxt]. Who does not know says false.
	Empty(tenant string, mint, maxt int64) bool
	BlockLister
}

// Config is what a Querier reads from and within which bounds.
type Config struct {
	Local Local
	// AcceptsFrom is of Local. Nil: nobody knows, and no answer is ever settled (see Watch).
	AcceptsFrom AcceptsFrom
	Blocks      Blocks // Nil without a bucket.
	// Members returns the cluster as it is now. It is called once a question and must not block. Nil is a cluster of one.
	Members func() Membership
	Client  *http.Client // To reach peers; it authenticates. Nil is a plain one.
	// PartialResponse is whether an incomplete answer is given with a warning instead of refused, for
	// queries that do not say (see WithPartialResponse).
	PartialResponse bool
	PeerTimeout     time.Duration // How long a peer may say nothing before it counts as missing. 0: DefaultPeerTimeout.
	MaxPeerBytes    int64         // Of one peer's answer to one selector. 0: DefaultMaxPeerBytes.
	// Joined returns the context under which Blocks is asked, when its answer will be joined to samples that members have from
	// t, in ms, on. After the question it says for which times, as closed intervals in order, the answer has something that
	// must not be mixed with samples of others; those are left out. Nil: Blocks need not know.
	Joined func(ctx context.Context, t int64) (_ context.Context, alone func() [][2]int64)
	// Received is told of each piece of a peer's answer; an error ends the query. Nil: nobody is.
	Received func(ctx context.Context, bytes int64) error
	// Turn waits for leave to decode a peer's answer, and returns what gives it back. Nil: there is nothing to wait for.
	Turn func(context.Context) (func(), error)
	// Metadata returns what this member knows of metric families. Nil: nothing.
	Metadata MetadataFunc
	// Heads are counted for Cardinality. Nil: they cannot be.
	Heads Heads
}

// Querier answers from the whole cluster: it is a storage.SampleAndChunkQueryable and a storage.ExemplarQueryable.
// It is safe for concurrent use.
//
// The tenant comes from the context of Select and its siblings (see WithTenant).
type Querier struct {
	cfg      Config
	peers    *peers
	metrics  *metrics
	counting sync.Mutex // Held while the series of this member are counted for a user.
}

var (
	_ storage.SampleAndChunkQueryable = (*Querier)(nil)
	_ storage.ExemplarQueryable       = (*Querier)(nil)
)

// New returns a Querier. It starts nothing. The registerer may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) *Querier {
	if cfg.Members == nil {
		self := Membership{Members: []Member{{Name: "self", Self: true, Alive: true, Serving: true}}, RF: 1}
		cfg.Members = func() Membership { return self }
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{}
	}
	if cfg.PeerTimeout <= 0 {
		cfg.PeerTimeout = DefaultPeerTimeout
	}
	if cfg.MaxPeerBytes <= 0 {
		cfg.MaxPeerBytes = DefaultMaxPeerBytes
	}
	m := newMetrics(reg)
	return &Querier{
		cfg: cfg,
		peers: &peers{
			client: cfg.Client, silence: cfg.PeerTimeout, maxBytes: cfg.MaxPeerBytes, received: cfg.Received, turn: cfg.Turn,
			metrics: m, logger: logger,
		},
		metrics: m,
	}
}

// Querier implements storage.Queryable.
func (q *Querier) Querier(mint, maxt int64) (storage.Querier, error) {
	return &sampleQuerier{newSession(q, span{mint, maxt})}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (q *Querier) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return &chunkQuerier{newSession(q, span{mint, maxt})}, nil
}

// ExemplarQuerier implements storage.ExemplarQueryable. The context is that of the selects.
func (q *Querier) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	return &exemplarQuerier{q: q, ctx: ctx}, nil
}
