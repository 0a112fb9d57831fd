// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// Members tell each other what is new in their metadata, and a member that was away, or
// is new, has missed it. So each member gives all it has to every member that comes: a
// filler. What the other one knows already stays as it is there, so that a member that
// returns with an old file spreads nothing old.

const (
	// headerMetadata tells how the metadata of a request between members is to be
	// taken.
	headerMetadata = "X-Penstock-Metadata"
	metadataFill   = "fill"
)

// metadataKeeper is what a LocalWriter may offer too; Local is one.
type metadataKeeper interface {
	// FillMetadata keeps the entries of families that are not known.
	FillMetadata(tenant string, entries []Metadata)
	// AllMetadata returns everything that is kept, by tenant.
	AllMetadata() map[string][]Metadata
}

var _ metadataKeeper = (*Local)(nil)

// FillMetadata keeps metadata of families that this member does not know.
func (l *Local) FillMetadata(tenant string, entries []Metadata) {
	if l.cfg.Metadata != nil {
		l.cfg.Metadata.Fill(tenant, entries)
	}
}

// AllMetadata returns the metadata of all tenants.
func (l *Local) AllMetadata() map[string][]Metadata {
	if l.cfg.Metadata == nil {
		return nil
	}
	return l.cfg.Metadata.All()
}

// Fill keeps the entries of families that are not known yet. They do not count as told: where another member was told
// otherwise by a sender, that is newer.
func (s *MetadataStore) Fill(tenant string, entries []Metadata) {
	unknown := slices.DeleteFunc(slices.Clone(entries), func(m Metadata) bool {
		return len(s.Get(tenant, m.Name, 1)) > 0
	})
	if len(unknown) > 0 {
		s.keep(tenant, unknown, time.Time{})
	}
}

// All returns the metadata of every tenant, sorted by name.
func (s *MetadataStore) All() map[string][]Metadata {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make(map[string][]Metadata, len(s.tenants))
	for name, t := range s.tenants {
		all[name] = t.sorted()
	}
	return all
}

// takeMetadata keeps the metadata of a request of another member.
func (h *internalHandler) takeMetadata(r *http.Request, b *Batch) {
	if keeper, ok := h.cfg.Local.(metadataKeeper); ok && r.Header.Get(headerMetadata) == metadataFill {
		keeper.FillMetadata(b.Tenant, b.metadata)
		return
	}
	h.cfg.Local.ApplyMetadata(b.Tenant, b.metadata)
}

// fillBody is metadata that fills what another member lacks.
type fillBody struct{ ownBody }

// filler gives metadata to the members that come. Only tick's goroutines run at the
// same time.
type filler struct {
	d       *Distributor
	running sync.WaitGroup
	mu      sync.Mutex
	// given has the members that are here and have got the metadata, or are about to.
	given map[string]struct{}
}

// tick starts to fill the members that were not here at the last one.
func (f *filler) tick(ctx context.Context, view *ring.View) {
	keeper, ok := f.d.cfg.Local.(metadataKeeper)
	if !ok {
		return
	}
	here := map[string]ring.Member{}
	for _, m := range view.Members {
		if m.Name != view.Self && canReplay(view, m) {
			here[m.Name] = m.Member
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.given, func(name string, _ struct{}) bool { _, is := here[name]; return !is })
	for name, m := range here {
		if _, done := f.given[name]; done {
			continue
		}
		f.given[name] = struct{}{}
		f.running.Go(func() {
			if err := f.fill(ctx, m, keeper.AllMetadata()); err != nil {
				f.d.logger.Debug("metadata not given to a member, trying again", "member", name, "err", err)
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.given, name)
			}
		})
	}
}

func (f *filler) fill(ctx context.Context, m ring.Member, all map[string][]Metadata) error {
	for tenant, entries := range all {
		if len(entries) == 0 {
			continue
		}
		if _, err := f.d.peers.get(m).push(ctx, tenant, fillBody{encodeMetadata(entries)}); err != nil {
			return err
		}
	}
	return nil
}
