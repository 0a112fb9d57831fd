// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// stitched is one series made of those of several replicas, in order of preference.
type stitched struct {
	lset       labels.Labels
	replicas   []storage.Series
	rule       rule
	mint, maxt int64
	bounded    bool
	newest     int64 // if bounded: no replica has a record after it
}

// Labels implements storage.Series.
func (s *stitched) Labels() labels.Labels { return s.lset }

// Iterator implements storage.Series. An iterator of another stitched series is reused
// together with its windows.
func (s *stitched) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*iterator)
	if !ok {
		it = &iterator{}
	}
	it.reset(s.rule, s.replicas, s.mint, s.maxt)
	if s.bounded {
		it.stitch.noneAfter(s.newest)
	}
	return it
}

// lone is a series that only one replica has, for whoever wants no trimming: it costs nothing.
type lone struct {
	storage.Series
	lset labels.Labels
}

// Labels implements storage.Series.
func (s *lone) Labels() labels.Labels { return s.lset }

// trimmed is a series that only one replica has: nothing to choose, and no cost but
// that of cutting off the margin that was read for those that do have to choose.
type trimmed struct {
	lset       labels.Labels
	inner      storage.Series
	mint, maxt int64
}

// Labels implements storage.Series.
func (s *trimmed) Labels() labels.Labels { return s.lset }

// Iterator implements storage.Series.
func (s *trimmed) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*trimIterator)
	if !ok {
		it = &trimIterator{}
	}
	it.Iterator = s.inner.Iterator(it.Iterator)
	it.mint, it.maxt, it.started = s.mint, s.maxt, false
	return it
}

// trimIterator shows the samples of another iterator from mint to maxt, both included.
type trimIterator struct {
	chunkenc.Iterator
	mint, maxt int64
	started    bool
}

// Next implements chunkenc.Iterator.
func (it *trimIterator) Next() chunkenc.ValueType {
	if !it.started {
		return it.Seek(it.mint)
	}
	return it.trim(it.Iterator.Next())
}

// Seek implements chunkenc.Iterator.
func (it *trimIterator) Seek(t milliseconds) chunkenc.ValueType {
	it.started = true
	return it.trim(it.Iterator.Seek(max(t, it.mint)))
}

func (it *trimIterator) trim(kind chunkenc.ValueType) chunkenc.ValueType {
	if kind != chunkenc.ValNone && it.AtT() > it.maxt {
		return chunkenc.ValNone
	}
	return kind
}
