// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// BlockSets selects from each local block of a tenant by itself, in the time of the hints: for
// whoever explains which block a sample is from, beside a ChunkQuerier that has all of
// them and the head. The sets are sorted and valid until release is called, before which
// the TSDB is not reopened. A block that is being deleted is left out.
func (s *Store) BlockSets(ctx context.Context, tenant string, hints *storage.SelectHints, matchers ...*labels.Matcher) (
	sets map[string]storage.ChunkSeriesSet, release func() error, err error,
) {
	inst, leave, err := s.enterRead(tenant)
	if err != nil {
		return nil, nil, err
	}
	var queriers []storage.ChunkQuerier
	release = func() error {
		defer leave()
		var errs []error
		for _, q := range queriers {
			errs = append(errs, q.Close())
		}
		return errors.Join(errs...)
	}
	sets = map[string]storage.ChunkSeriesSet{}
	if inst == nil {
		return sets, release, nil
	}
	for _, b := range inst.db.Blocks() {
		if !b.OverlapsClosedInterval(hints.Start, hints.End) {
			continue
		}
		q, err := tsdb.NewBlockChunkQuerier(b, hints.Start, hints.End)
		if errors.Is(err, tsdb.ErrClosing) {
			continue
		}
		if err != nil {
			return nil, nil, errors.Join(err, release())
		}
		queriers = append(queriers, q)
		sets[b.Meta().ULID.String()] = q.Select(ctx, true, hints, matchers...)
	}
	return sets, release, nil
}
