// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// MetadataConfig configures a MetadataStore.
type MetadataConfig struct {
	// Dir has one file per tenant. It is created if need be.
	Dir string
	// MaxBytes bounds the metadata of one tenant, in memory and on disk. Zero means
	// DefaultMetadataBytes.
	MaxBytes int64
	// MaxTenants bounds the number of files. Zero means DefaultMetadataTenants.
	MaxTenants int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	// DefaultMetadataBytes is some 30,000 families; large fleets have 10,000.
	DefaultMetadataBytes = 4 << 20
	// DefaultMetadataTenants is the default limit of tenants of a node.
	DefaultMetadataTenants = 100
	// metadataRefresh is after how long an entry that did not change is told to the
	// other members again: one that was away learns it then.
	metadataRefresh = 5 * time.Minute
	// metadataFlush is how often changes are written. What a crash loses comes again
	// with the senders' next round.
	metadataFlush = 10 * time.Second
	// metadataEntryBytes is the cost of an entry beside its texts.
	metadataEntryBytes = 64
)

// MetadataStore keeps the metadata of metric families by tenant, bounded, in memory
// and in one file per tenant. Nothing that happens to it fails a write. Safe for
// concurrent use.
type MetadataStore struct {
	cfg     MetadataConfig
	logger  *slog.Logger
	metrics *metadataMetrics

	mu      sync.RWMutex
	tenants map[string]*tenantMetadata
	flushMu sync.Mutex // one flush at a time
}

type tenantMetadata struct {
	families map[string]*family
	bytes    int64
	dirty    bool
}

type family struct {
	Metadata
	told time.Time // when the other members were last told
}

func (m *Metadata) bytes() int64 {
	return int64(len(m.Name)+len(m.Type)+len(m.Help)+len(m.Unit)) + metadataEntryBytes
}

// OpenMetadata reads the files of all tenants. A damaged file is logged, counted and
// replaced in time: metadata is sent again and again.
func OpenMetadata(cfg MetadataConfig, logger *slog.Logger, reg prometheus.Registerer) (*MetadataStore, error) {
	setDefault(&cfg.MaxBytes, DefaultMetadataBytes)
	setDefault(&cfg.MaxTenants, DefaultMetadataTenants)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &MetadataStore{cfg: cfg, logger: logger, metrics: newMetadataMetrics(reg), tenants: map[string]*tenantMetadata{}}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run writes changes from time to time, and a last time when the context ends.
func (s *MetadataStore) Run(ctx context.Context) error {
	ticker := time.NewTicker(metadataFlush)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.Flush()
		case <-ticker.C:
			if err := s.Flush(); err != nil {
				s.logger.Warn("metadata not written", "err", err)
			}
		}
	}
}

// Apply keeps the entries and returns those that other members should be told: they
// are new, have changed, or were last told long ago.
func (s *MetadataStore) Apply(tenant string, entries []Metadata) []Metadata {
	now := s.cfg.Now()
	if len(entries) == 0 || s.knows(tenant, entries, now) {
		return nil
	}
	return s.keep(tenant, entries, now)
}

// keep keeps entries as told at a time, and returns those that are new, have changed or were told long before.
func (s *MetadataStore) keep(tenant string, entries []Metadata, told time.Time) []Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[tenant]
	if t == nil {
		if len(s.tenants) >= s.cfg.MaxTenants || !fileSafe(tenant) {
			s.metrics.dropped.Add(float64(len(entries)))
			return nil
		}
		t = &tenantMetadata{families: map[string]*family{}}
		s.tenants[tenant] = t
	}
	var due []Metadata
	for _, m := range entries {
		if s.applyOne(t, m, told) {
			due = append(due, m)
		}
	}
	return due
}

// knows tells whether all entries are known as they are and were told recently. It
// is the common case, once per series for 2.0 senders, and takes no exclusive lock.
func (s *MetadataStore) knows(tenant string, entries []Metadata, now time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tenants[tenant]
	if t == nil {
		return false
	}
	for _, m := range entries {
		if f := t.families[m.Name]; f == nil || f.isDue(m, now) {
			return false
		}
	}
	return true
}

func (f *family) isDue(m Metadata, now time.Time) bool {
	return f.Metadata != m || now.Sub(f.told) >= metadataRefresh
}

func (s *MetadataStore) applyOne(t *tenantMetadata, m Metadata, now time.Time) (due bool) {
	f := t.families[m.Name]
	if f != nil && !f.isDue(m, now) {
		return false
	}
	grow := m.bytes()
	if f != nil {
		grow -= f.Metadata.bytes()
	}
	if t.bytes+grow > s.cfg.MaxBytes {
		s.metrics.dropped.Inc()
		return false
	}
	t.bytes += grow
	t.dirty = t.dirty || f == nil || f.Metadata != m
	t.families[m.Name] = &family{Metadata: m, told: now}
	return true
}

// Get returns the metadata of one metric, or of all when metric is empty, sorted by
// name; at most limit entries unless that is 0 or less.
func (s *MetadataStore) Get(tenant, metric string, limit int) []Metadata {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tenants[tenant]
	if t == nil {
		return nil
	}
	if metric != "" {
		if f := t.families[metric]; f != nil {
			return []Metadata{f.Metadata}
		}
		return nil
	}
	all := t.sorted()
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}

func (t *tenantMetadata) sorted() []Metadata {
	all := make([]Metadata, 0, len(t.families))
	for _, f := range t.families {
		all = append(all, f.Metadata)
	}
	slices.SortFunc(all, func(a, b Metadata) int { return strings.Compare(a.Name, b.Name) })
	return all
}
