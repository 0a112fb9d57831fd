// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"
	"strings"
	"time"
)

// ToldMetadata is metadata with the time at which it was last told to this member by a sender or, through another member,
// for one. It is told again every five minutes. Zero: not since the start.
type ToldMetadata struct {
	Metadata
	Told time.Time
}

// Told returns the metadata of one metric, or of all when metric is empty, sorted by name; at most limit entries unless
// that is 0 or less.
func (s *MetadataStore) Told(tenant, metric string, limit int) []ToldMetadata {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.tenants[tenant]
	if t == nil {
		return nil
	}
	if metric != "" {
		if f := t.families[metric]; f != nil {
			return []ToldMetadata{{f.Metadata, f.told}}
		}
		return nil
	}
	all := make([]ToldMetadata, 0, len(t.families))
	for _, f := range t.families {
		all = append(all, ToldMetadata{f.Metadata, f.told})
	}
	slices.SortFunc(all, func(a, b ToldMetadata) int { return strings.Compare(a.Name, b.Name) })
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}
