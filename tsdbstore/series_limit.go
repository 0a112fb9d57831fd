// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Limits bound what may be made. What exists goes on when they become stricter.
type Limits struct {
	// MaxTenants bounds how many TSDBs are made. Those found on disk are opened
	// even beyond it.
	MaxTenants int
	// MaxSeries bounds the series in the head of one tenant, and MaxNodeSeries those
	// of all tenants together. Zero: no bound. Writes at the same time can exceed a
	// bound by as many series as there are of them.
	MaxSeries, MaxNodeSeries int
}

// census counts the series in the head of one open TSDB, and asks before a new one is
// made. The TSDB calls it from several goroutines.
type census struct {
	store  *Store
	tenant string
	count  atomic.Int64
	// limited is set when the TSDB has loaded what was acknowledged before, which is
	// never refused.
	limited atomic.Bool
}

var _ tsdb.SeriesLifecycleCallback = (*census)(nil)

// PreCreation returns why the series may not be made, or nil.
func (c *census) PreCreation(labels.Labels) error {
	if !c.limited.Load() {
		return nil
	}
	s := c.store
	limits := s.cfg.Limits(c.tenant)
	if n := limits.MaxSeries; n > 0 && c.count.Load() >= int64(n) {
		s.metrics.seriesRefused.WithLabelValues(refusedTenant).Inc()
		return &SeriesLimitError{Tenant: c.tenant, Limit: n}
	}
	if n := limits.MaxNodeSeries; n > 0 && s.series.Load() >= int64(n) {
		s.metrics.seriesRefused.WithLabelValues(refusedNode).Inc()
		return &SeriesLimitError{Limit: n}
	}
	if s.cfg.AdmitSeries != nil {
		if err := s.cfg.AdmitSeries(); err != nil {
			s.metrics.seriesRefused.WithLabelValues(refusedAdmit).Inc()
			return err
		}
	}
	return nil
}

// PostCreation counts a series in.
func (c *census) PostCreation(labels.Labels) {
	c.count.Add(1)
	c.store.series.Add(1)
}

// PostDeletion counts series out.
func (c *census) PostDeletion(gone map[chunks.HeadSeriesRef]labels.Labels) {
	c.count.Add(-int64(len(gone)))
	c.store.series.Add(-int64(len(gone)))
}

// end takes the series of a closed TSDB out of the node's count.
func (c *census) end() { c.store.series.Add(-c.count.Swap(0)) }
