// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/api"
	"github.com/penstock-io/penstock/ring"
)

// What the read path tells of all members together beside samples: metadata and the number of series.

// knownMetadata is this member's copy of what senders told of their metrics.
func (s *server) knownMetadata(tenant, metric string, limit int) []querier.Metadata {
	known := s.metadata.Told(tenant, metric, limit)
	out := make([]querier.Metadata, len(known))
	for i, m := range known {
		out[i] = querier.Metadata{Name: m.Name, Type: string(m.Type), Unit: m.Unit, Help: m.Help}
		if !m.Told.IsZero() {
			out[i].ToldMs = m.Told.UnixMilli()
		}
	}
	return out
}

// metricMetadata is what any member knows of the tenant's metrics.
func (s *server) metricMetadata(ctx context.Context, metric string, limit, _ int) (map[string][]api.Metadata, error) {
	known, err := s.querier.Metadata(ctx, metric, limit)
	out := make(map[string][]api.Metadata, len(known))
	for _, m := range known {
		out[m.Name] = []api.Metadata{{Type: m.Type, Unit: m.Unit, Help: m.Help}}
	}
	return out, err
}

// tsdbStats is the cardinality of the heads of all members.
func (s *server) tsdbStats(ctx context.Context, limit int) (api.TSDBStats, error) {
	c, warnings, err := s.querier.Cardinality(ctx)
	if err != nil {
		return api.TSDBStats{}, err
	}
	status := v1.TSDBStatus{
		HeadStats:                   v1.HeadStats{NumSeries: c.Series, ChunkCount: int64(c.Chunks), MinTime: c.MinTime, MaxTime: c.MaxTime},
		SeriesCountByMetricName:     topOf(c.Metrics, limit),
		SeriesCountByLabelValuePair: topOf(c.Pairs, limit),
	}
	values, bytes := make([]v1.TSDBStat, len(c.LabelNames)), make([]v1.TSDBStat, len(c.LabelNames))
	for i, l := range c.LabelNames {
		status.HeadStats.NumLabelPairs += l.Values
		values[i], bytes[i] = v1.TSDBStat{Name: l.Name, Value: uint64(l.Values)}, v1.TSDBStat{Name: l.Name, Value: l.Bytes}
	}
	slices.SortFunc(bytes, func(a, b v1.TSDBStat) int {
		return cmp.Or(cmp.Compare(b.Value, a.Value), strings.Compare(a.Name, b.Name))
	})
	status.LabelValueCountByLabelName = values[:min(len(values), limit)]
	status.MemoryInBytesByLabelName = bytes[:min(len(bytes), limit)]
	return api.TSDBStats{Status: status, Warnings: warnings.AsErrors()}, nil
}

func topOf(counts []querier.Count, limit int) []v1.TSDBStat {
	out := make([]v1.TSDBStat, 0, min(len(counts), limit))
	for _, c := range counts[:min(len(counts), limit)] {
		out = append(out, v1.TSDBStat{Name: c.Name, Value: c.Series})
	}
	return out
}

// heads are the series being written to on this member, each copy of which is counted by one member.
type heads struct{ s *server }

// ReadHead implements querier.Heads.
func (h heads) ReadHead(tenant string, read func(ix tsdb.IndexReader, mint, maxt int64) error) error {
	return h.s.store.ReadHead(tenant, read)
}

// Counts implements querier.Heads.
func (h heads) Counts(tenant string, whole, asked []string) func(labels.Labels) bool {
	view := h.s.members.View()
	if len(view.Members) == 1 {
		return func(labels.Labels) bool { return true }
	}
	slots := countedSlots(view.Ring, view.Self, whole, asked)
	var buf []byte
	return func(lset labels.Labels) bool {
		var key uint64
		key, buf = ingest.SeriesKey(buf, tenant, lset)
		return slots[ring.SlotOf(key)]
	}
}

// countedSlots tells of each slot whether a member counts its series: it is the first of the owners in whole, or if there
// is none the first in asked. It is pure, and with the same ring exactly one of the members that are asked counts a slot
// that any of them owns.
func countedSlots(r *ring.Ring, name string, whole, asked []string) *[ring.Slots]bool {
	var out [ring.Slots]bool
	for slot := range out {
		first := func(among []string) string {
			for _, i := range r.Owners(uint16(slot)) {
				if owner := r.Members()[i].Name; slices.Contains(among, owner) {
					return owner
				}
			}
			return ""
		}
		out[slot] = cmp.Or(first(whole), first(asked)) == name
	}
	return &out
}
