// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/ring"
)

// LedgerConfig configures a Ledger.
type LedgerConfig struct {
	// ClusterLabel and ReplicaLabel are the external labels that tell a sender: which
	// HA pair, and which of the two. Empty means DefaultClusterLabel and
	// DefaultReplicaLabel.
	ClusterLabel, ReplicaLabel string
	// TrustForwardedFor takes the address of a sender without those labels from the
	// last entry of X-Forwarded-For, which is what the proxy in front has seen. Without
	// a proxy that sets it anyone can write anything there.
	TrustForwardedFor bool
	// Tenant returns the tenant of a request for the status. It is required for the
	// HTTP handlers only.
	Tenant func(*http.Request) (string, error)
	// MaxSenders bounds the senders of one tenant that are told apart; the others are
	// summed in a row of their own. Zero means DefaultMaxSenders.
	MaxSenders int
	// IdleAfter is how long a silent sender is kept. Zero means DefaultSenderIdle.
	IdleAfter time.Duration
	// View, Client and Scheme reach the other members, as in DistributorConfig. A nil
	// Client means that there are none.
	View   func() *ring.View
	Client *http.Client
	Scheme string
	// ExchangeInterval is how often the other members are told which requests were
	// answered here. Zero means DefaultLedgerExchange.
	ExchangeInterval time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Defaults of LedgerConfig, and its fixed bounds.
const (
	DefaultClusterLabel = "cluster"
	DefaultReplicaLabel = "prometheus_replica"
	// DefaultMaxSenders is many HA pairs, and as metrics some 1,500 series a tenant.
	DefaultMaxSenders = 100
	// DefaultSenderIdle lets whoever comes in the morning see what fell silent at night.
	DefaultSenderIdle = 24 * time.Hour
	// DefaultLedgerExchange is well below the interval of a scrape.
	DefaultLedgerExchange = 2 * time.Second

	// ledgerRowsMax bounds the rows of all tenants together: tenant names come from
	// the network before anything has proved that the tenant exists.
	ledgerRowsMax = 2000
	// senderNameBytes bounds what is kept of a label value or address.
	senderNameBytes = 128
	// otherSenders is the address of the row for senders beyond the bound. No
	// address reads like that.
	otherSenders = "other"
)

func (c LedgerConfig) withDefaults() LedgerConfig {
	setDefault(&c.MaxSenders, DefaultMaxSenders)
	setDefault(&c.IdleAfter, DefaultSenderIdle)
	setDefault(&c.ExchangeInterval, DefaultLedgerExchange)
	if c.ClusterLabel == "" {
		c.ClusterLabel = DefaultClusterLabel
	}
	if c.ReplicaLabel == "" {
		c.ReplicaLabel = DefaultReplicaLabel
	}
	if c.Scheme == "" {
		c.Scheme = "http"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Ledger accounts for what each sender delivered to this member and what became of
// it, as metrics and as a status page:
//
//	received = accepted + rejected + unavailable
//	distinct = accepted - duplicate - deduplicated + restored
//
// A request is booked once, when it is answered. A 503 promises nothing and the sender
// delivers all of it again, so that all of it is unavailable, whatever single owners
// have of it. Accepted is what was promised, and distinct is what a query of
// everything finds. docs/senders.md says how to read it.
//
// A nil *Ledger books nothing. Safe for concurrent use.
type Ledger struct {
	cfg     LedgerConfig
	logger  *slog.Logger
	metrics *ledgerMetrics
	acked   *ackedRequests
	// told is how far in the log of acked each other member is. Only Run uses it.
	told map[string]uint64

	mu   sync.RWMutex
	rows map[senderID]*sender
	// perTenant is how many rows of a tenant there are, otherSenders not counted.
	perTenant map[string]int
}

// NewLedger returns an empty ledger. Run expires senders and tells the other members
// what was answered here.
func NewLedger(cfg LedgerConfig, logger *slog.Logger, reg prometheus.Registerer) *Ledger {
	cfg = cfg.withDefaults()
	l := &Ledger{
		cfg:       cfg,
		logger:    logger,
		metrics:   newLedgerMetrics(reg),
		acked:     newAckedRequests(cfg.Client != nil),
		rows:      map[senderID]*sender{},
		perTenant: map[string]int{},
		told:      map[string]uint64{},
	}
	if reg != nil {
		reg.MustRegister(senderCollector{l})
	}
	return l
}

// Run expires silent senders and exchanges answered requests with the other members,
// until the context ends.
func (l *Ledger) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.ExchangeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.expire()
			l.tellOthers(ctx)
		}
	}
}

// record books an answered request and returns where, unless nothing was promised. It
// takes one lock for the sender and one for the request, and allocates only for a sender
// that it has not seen before.
func (l *Ledger) record(r *http.Request, b *Batch, o Outcome) ledgerEntry {
	if l == nil || len(b.series) == 0 {
		return ledgerEntry{} // Metadata alone carries no external labels, and no samples.
	}
	now := l.cfg.Now()
	s := l.row(l.identify(r, b), now, true)
	d := deliveryOf(b, o)
	d.retried = retried(r)
	if stored := d.accepted - d.deduplicated; stored > 0 {
		d.duplicate = l.acked.note(fingerprintOf(b), s, stored, now)
	}
	s.book(&d, b.refused, o.Rejected, now)
	if d.unavailable {
		return ledgerEntry{}
	}
	return ledgerEntry{ledger: l, sender: s}
}

// refuse books a request of which no owner was asked for anything. b is what was read
// of it, or nil. If that is nothing the request is booked on the address that it came
// from, and makes no row for a tenant without one.
func (l *Ledger) refuse(r *http.Request, tenant string, b *Batch, status int) {
	if l == nil {
		return
	}
	now := l.cfg.Now()
	again := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests
	id, read := senderID{tenant: tenant}, b != nil && len(b.series) > 0
	if read {
		id = l.identify(r, b)
	} else {
		id.address = l.address(r)
	}
	s := l.row(id, now, read && again)
	if !again {
		s.bookUnreadable(retried(r), now)
		return
	}
	d := delivery{unavailable: true, retried: retried(r)}
	if read {
		d.received = b.received.stored()
	}
	s.book(&d, nil, nil, now)
}

// row returns the row of a sender, or the one of its tenant for senders beyond the
// bound, or, beyond all bounds, the one that has no tenant. The strings of id may be
// views of a request; what is kept is a copy.
func (l *Ledger) row(id senderID, now time.Time, newTenant bool) *sender {
	l.mu.RLock()
	s := l.rows[id]
	l.mu.RUnlock()
	if s != nil {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.rows[id]; s != nil {
		return s
	}
	n, tenantKnown := l.perTenant[id.tenant]
	switch {
	case len(l.rows) >= ledgerRowsMax || !tenantKnown && !newTenant:
		id = senderID{address: otherSenders}
	case n >= l.cfg.MaxSenders:
		id = senderID{tenant: id.tenant, address: otherSenders}
	}
	if s := l.rows[id]; s != nil {
		return s
	}
	id = id.clone()
	s = &sender{id: id, since: now, last: now}
	l.rows[id] = s
	if id.address != otherSenders {
		l.perTenant[id.tenant]++
	}
	return s
}

// expire drops the rows of senders that were silent for too long.
func (l *Ledger) expire() {
	before := l.cfg.Now().Add(-l.cfg.IdleAfter)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.rows {
		if !s.silentSince(before) {
			continue
		}
		delete(l.rows, id)
		if id.address == otherSenders {
			continue
		}
		if l.perTenant[id.tenant]--; l.perTenant[id.tenant] == 0 {
			delete(l.perTenant, id.tenant)
		}
	}
}

// eachRow calls f with every row; f must not call the ledger.
func (l *Ledger) eachRow(f func(*sender)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.rows {
		f(s)
	}
}

// senderID is the identity of a row. Cluster and replica are the external labels; a
// sender that has neither is its address.
type senderID struct{ tenant, cluster, replica, address string }

func (id senderID) clone() senderID {
	return senderID{
		tenant:  strings.Clone(id.tenant),
		cluster: strings.Clone(id.cluster),
		replica: strings.Clone(id.replica),
		address: strings.Clone(id.address),
	}
}
