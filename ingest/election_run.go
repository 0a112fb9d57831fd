// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/ring"
)

// ElectionConfig configures an Election.
type ElectionConfig struct {
	// ClusterLabel and ReplicaLabel are the labels that a sender has on all its series:
	// which HA cluster it belongs to, and which of its replicas it is.
	ClusterLabel, ReplicaLabel string
	// RF is the configured replication factor: so many members decide on a cluster.
	RF int
	// View returns the current snapshot of the ring.
	View func() *ring.View
	// Client asks other members; it adds what authenticates this one.
	Client *http.Client
	// Scheme is http or https, for the internal listeners.
	Scheme string
	// Writer stores what was held back when the elected replica fell silent.
	Writer Writer
	// Limits and LimitsOf are those of HandlerConfig, for what was held back.
	Limits   Limits
	LimitsOf func(tenant string) *Limits
	// Admit returns why nothing can be stored now of what was held back, or nil; a nil
	// Admit always admits.
	Admit func() error
	// Cache is shared with the handlers and Local; nil is none.
	Cache *SeriesCache
	// MaxClusters bounds the HA clusters that are told apart; the replicas of others
	// are all admitted. Zero means DefaultElectionClusters.
	MaxClusters int
	// MaxHeldBytes bounds the dropped requests that are kept in memory until the
	// elected replica has covered them. Zero means DefaultHeldBytes.
	MaxHeldBytes int64
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Defaults of ElectionConfig, and its fixed bounds.
const (
	// DefaultElectionClusters is a report of about 1 MB a second to each owner.
	DefaultElectionClusters = 4096
	// DefaultHeldBytes is 15 s of 200,000 samples/s, which is one node's share of
	// the dropped replicas of many large pairs.
	DefaultHeldBytes = 64 << 20

	// electionRound is how often the owners are told what came and asked whom to
	// drop. It is what failing over takes on top of noticing.
	electionRound = time.Second
	// electionTimeout bounds one question to an owner.
	electionTimeout = time.Second
	// electionForget is how long a cluster is remembered that nobody writes.
	electionForget = 10 * time.Minute
	// heldAgeMax is how long a dropped request is kept in any case: longer than the
	// bound of the slowest sender.
	heldAgeMax = 5 * time.Minute
	// heldStorePause is between two attempts to store what is held when this member
	// stops.
	heldStorePause = 100 * time.Millisecond
)

func (c ElectionConfig) withDefaults() ElectionConfig {
	c.Limits = c.Limits.withDefaults()
	setDefault(&c.RF, 1)
	setDefault(&c.MaxClusters, DefaultElectionClusters)
	setDefault(&c.MaxHeldBytes, DefaultHeldBytes)
	if c.LimitsOf == nil {
		limits := c.Limits
		c.LimitsOf = func(string) *Limits { return &limits }
	}
	if c.Admit == nil {
		c.Admit = func() error { return nil }
	}
	if c.Scheme == "" {
		c.Scheme = "http"
	}
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Election stores the samples of one replica of each HA cluster and drops those of the
// others. It has two halves that meet over the internal listener:
//
//	handler -- sift ---> haCluster: lease, what came, what is held back
//	                        |   every second                 ^
//	                        | reports                        | ballots
//	                        v                                |
//	                     electionTable of the owners of hash(tenant, HA cluster)
//
// A request never waits for an answer: without a lease everybody is admitted. What is
// dropped is held back until the elected replica has covered its time, and stored if
// that does not happen, so that a failover leaves no hole. Safe for concurrent use.
type Election struct {
	cfg     ElectionConfig
	started time.Time
	owned   electionTable
	// ask is how an owner is asked; tests replace it.
	ask func(ctx context.Context, m ring.Member, questions []question) ([]ballot, error)

	// refusing has the members that refused to answer last. Only round uses it.
	refusing map[string]bool

	mu       sync.RWMutex
	clusters map[haKey]*haCluster

	heldBytes atomic.Int64
	stopping  atomic.Bool // everybody is admitted
	batches   batchPool   // for what was held back
	logger    *slog.Logger
	metrics   *electionMetrics
}

// NewElection returns an Election. It knows nobody; Run asks the owners.
func NewElection(cfg ElectionConfig, logger *slog.Logger, reg prometheus.Registerer) *Election {
	cfg = cfg.withDefaults()
	e := &Election{
		cfg:      cfg,
		started:  cfg.Now(),
		owned:    electionTable{clusters: map[haKey]*ownedCluster{}},
		clusters: map[haKey]*haCluster{},
		refusing: map[string]bool{},
		batches:  batchPool{limits: cfg.Limits, cache: cfg.Cache, strict: true},
		logger:   logger,
	}
	e.ask = e.askMember
	e.metrics = newElectionMetrics(reg, e)
	return e
}

// Run reports to the owners and stores what has to be stored of what was held back,
// until the context ends. StoreHeld stores what is held back then.
func (e *Election) Run(ctx context.Context) error {
	var storing sync.WaitGroup
	defer storing.Wait()
	due := make(chan struct{}, 1)
	defer close(due)
	storing.Go(func() {
		for range due {
			e.storeHeld(ctx)
		}
	})
	tick := time.NewTicker(electionRound)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		e.round(ctx)
		select {
		case due <- struct{}{}:
		default: // Still at it.
		}
	}
}

// cluster returns the cluster of a tenant by its name, or nil when there are too many.
func (e *Election) cluster(tenant string, name []byte) *haCluster {
	e.mu.RLock()
	c := e.clusters[haKey{tenant, string(name)}]
	e.mu.RUnlock()
	if c != nil {
		return c
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	key := haKey{tenant, string(name)}
	if c := e.clusters[key]; c != nil {
		return c
	}
	if len(e.clusters) >= e.cfg.MaxClusters {
		return nil
	}
	c = newHACluster(key)
	e.clusters[key] = c
	return c
}

// list returns all clusters and forgets those that nobody has written for long.
func (e *Election) list(now time.Time) []*haCluster {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*haCluster, 0, len(e.clusters))
	for key, c := range e.clusters {
		if c.idle(now) {
			delete(e.clusters, key)
			continue
		}
		out = append(out, c)
	}
	return out
}
