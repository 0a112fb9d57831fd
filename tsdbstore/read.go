// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"math"
	"sync"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Querier selects from the head and the blocks of a tenant, mint and maxt in
// Unix ms and inclusive. A tenant that does not exist here gives an empty one
// and is not made. It must be closed: a TSDB is not reopened under a reader.
func (s *Store) Querier(tenant string, mint, maxt int64) (storage.Querier, error) {
	inst, leave, err := s.enterRead(tenant)
	if err != nil {
		return nil, err
	}
	if inst == nil {
		return storage.NoopQuerier(), nil
	}
	q, err := inst.db.Querier(mint, maxt)
	if err != nil {
		leave()
		return nil, err
	}
	return &querier{Querier: q, leave: leave}, nil
}

// ChunkQuerier is Querier for encoded chunks.
func (s *Store) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	inst, leave, err := s.enterRead(tenant)
	if err != nil {
		return nil, err
	}
	if inst == nil {
		return storage.NoopChunkedQuerier(), nil
	}
	q, err := inst.db.ChunkQuerier(mint, maxt)
	if err != nil {
		leave()
		return nil, err
	}
	return &chunkQuerier{ChunkQuerier: q, leave: leave}, nil
}

// ExemplarQuerier selects from the exemplars in memory. There is nothing to close.
func (s *Store) ExemplarQuerier(ctx context.Context, tenant string) (storage.ExemplarQuerier, error) {
	inst, leave, err := s.enterRead(tenant)
	if err != nil {
		return nil, err
	}
	if inst == nil {
		return noExemplars{}, nil
	}
	defer leave() // Exemplars are plain memory, good even after a close.
	return inst.db.ExemplarQuerier(ctx)
}

// Blocks returns the metas of the local blocks of a tenant; none while its TSDB
// is being reopened.
func (s *Store) Blocks(tenant string) []tsdb.BlockMeta {
	inst, leave, err := s.enterRead(tenant)
	if err != nil || inst == nil {
		return nil
	}
	defer leave()
	return inst.db.BlockMetas()
}

// ReadHead calls read with the index of the head of a tenant and the times (Unix ms)
// of its first and last sample, and not at all for a tenant that does not exist here.
// The index is good until read returns.
func (s *Store) ReadHead(tenant string, read func(ix tsdb.IndexReader, mint, maxt int64) error) error {
	inst, leave, err := s.enterRead(tenant)
	if err != nil || inst == nil {
		return err
	}
	defer leave()
	head := inst.db.Head()
	ix, err := head.Index()
	if err != nil {
		return err
	}
	return errors.Join(read(ix, head.MinTime(), head.MaxTime()), ix.Close())
}

// AcceptsFrom returns the earliest time (Unix ms) of a sample of the tenant that would be taken now: how far before the newest one the
// out-of-order window reaches, or, within a series, half of a block. It never goes back while the TSDB is open. A TSDB without a
// head, or none, takes any.
func (s *Store) AcceptsFrom(tenant string) int64 {
	inst, leave, err := s.enterRead(tenant)
	if err != nil || inst == nil {
		return math.MinInt64
	}
	defer leave()
	newest := inst.db.Head().MaxTime()
	if newest == math.MinInt64 {
		return newest
	}
	return newest - max(s.cfg.OutOfOrderWindow, s.cfg.BlockDuration/2).Milliseconds()
}

// Newest returns a time (Unix ms) after which no sample lies that was acknowledged for the tenant before it was asked; math.MinInt64 if
// there is none. Samples that come while it is asked, or later, may be newer.
func (s *Store) Newest(tenant string) int64 {
	inst, leave, err := s.enterRead(tenant)
	switch {
	case err != nil:
		return math.MaxInt64
	case inst == nil:
		return math.MinInt64
	}
	defer leave()
	newest := inst.db.Head().MaxTime()
	for _, b := range inst.db.Blocks() {
		newest = max(newest, b.Meta().MaxTime)
	}
	return newest
}

// LocalStart is the time (Unix ms) from which on this node has all that it was
// sent for the tenant: the making of the store's directory, or the end of the
// newest block deleted since. math.MaxInt64 when that is not known yet.
func (s *Store) LocalStart(tenant string) int64 {
	if t := s.find(tenant); t != nil {
		return max(s.created, t.horizon.get())
	}
	return s.created
}

// enterRead returns the open TSDB of a tenant and how to leave it; a nil
// instance for a tenant that does not exist.
func (s *Store) enterRead(name string) (*instance, func(), error) {
	if !validTenant(name) {
		return nil, nil, &InvalidTenantError{Tenant: name}
	}
	t := s.find(name)
	if t == nil {
		// Before the directory was read, "unknown" would be a guess.
		if err := s.known(); err != nil {
			return nil, nil, err
		}
		return nil, func() {}, nil
	}
	if err := t.gate.enterRead(); err != nil {
		return nil, nil, err
	}
	return t.inst.Load(), sync.OnceFunc(t.gate.leaveRead), nil
}

type querier struct {
	storage.Querier
	leave func()
}

func (q *querier) Close() error {
	defer q.leave()
	return q.Querier.Close()
}

type chunkQuerier struct {
	storage.ChunkQuerier
	leave func()
}

func (q *chunkQuerier) Close() error {
	defer q.leave()
	return q.ChunkQuerier.Close()
}

// noExemplars is the answer for a tenant that does not exist.
type noExemplars struct{}

func (noExemplars) Select(_, _ int64, _ ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	return nil, nil
}
