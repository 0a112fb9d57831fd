// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Metadata is what senders told of a metric family.
type Metadata struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
	Help string `json:"help,omitempty"`
	// ToldMs is when a sender last told it, as far as the member knows; 0 is not since its start. The latest counts.
	ToldMs int64 `json:"told,omitempty"`
}

// Metadata returns what any member that answers knows of a metric family, or of all families if metric is empty, sorted by
// name; at most limit of them, unless that is negative. Every member is told of all metadata and keeps it, but one may have
// been away, or be new: so all are asked, and of what they say of one family the latest counts. Metadata is no sample: a
// member that does not answer leaves no gap to warn of.
func (q *Querier) Metadata(ctx context.Context, metric string, limit int) ([]Metadata, error) {
	tenant, ok := TenantFrom(ctx)
	if !ok {
		return nil, errNoTenant
	}
	ask := func(ctx context.Context, m Member) ([]Metadata, said, error) {
		if m.Self {
			return q.cfg.metadata(tenant, metric, limit), said{}, nil
		}
		return q.peers.metadata(ctx, m, metric, limit)
	}
	g, err := gather(ctx, q.cfg.Members, span{}, true, ask)
	if err != nil {
		return nil, err
	}
	return mergeMetadata(g.answers, limit), nil
}

// MetadataFunc returns what this member knows of one metric family, or of all, sorted by name. The limit is as in
// Querier.Metadata.
type MetadataFunc func(tenant, metric string, limit int) []Metadata

func (c *Config) metadata(tenant, metric string, limit int) []Metadata {
	if c.Metadata == nil {
		return nil
	}
	return c.Metadata(tenant, metric, limit)
}

// mergeMetadata keeps of each family what was told last. Members that were told the same at one time differ in nothing
// else, and if they do, the order of the texts decides, so that every member gives the same answer.
func mergeMetadata(answers [][]Metadata, limit int) []Metadata {
	all := slices.Concat(answers...)
	slices.SortFunc(all, func(a, b Metadata) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), -cmp.Compare(a.ToldMs, b.ToldMs),
			cmp.Compare(a.Type, b.Type), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Help, b.Help))
	})
	all = slices.CompactFunc(all, func(a, b Metadata) bool { return a.Name == b.Name })
	if limit >= 0 && len(all) > limit {
		all = all[:limit]
	}
	return all
}
