// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestVersion: it is that of the tenant's blocks of the time, and of no others; and says whether downsampled ones stand alone.
func TestVersion(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	listed := func(letter byte, mint, maxt, resolution int64, tenant string) bucket.Listed {
		var l bucket.Listed
		l.Meta.ULID = ulid.MustNew(uint64(letter), nil)
		l.Meta.MinTime, l.Meta.MaxTime = mint, maxt
		l.Meta.Thanos.Labels = map[string]string{bucket.LabelTenant: tenant}
		l.Meta.Thanos.Downsample.Resolution = resolution
		l.Meta.Compaction.Sources = []ulid.ULID{l.Meta.ULID}
		return l
	}
	s := func(blocks ...bucket.Listed) *Store {
		s := &Store{cfg: Config{Blocks: bucket.NewBlocks(bucket.NewMemory(), nil), Now: func() time.Time { return now }, MaxStale: time.Hour}}
		v := newView(bucket.Listing{Blocks: blocks}, nil, DefaultTenant, now)
		s.view.Store(v)
		return s
	}
	version := func(s *Store, mint, maxt int64) uint64 {
		v, raw := s.Version("t", mint, maxt)
		require.True(t, raw)
		return v
	}
	a, b, other := listed('a', 0, 10, 0, "t"), listed('b', 10, 20, 0, "t"), listed('c', 0, 20, 0, "u")
	one := s(a, b)
	require.Equal(t, version(one, 0, 9), version(s(a), 0, 9), "b is of another time")
	require.Equal(t, version(one, 0, 20), version(s(b, other, a), 0, 20))
	require.NotEqual(t, version(one, 0, 10), version(one, 0, 9))
	require.NotEqual(t, version(one, 0, 9), version(s(b, listed('d', 0, 10, 0, "t")), 0, 9))

	require.True(t, one.Empty("t", 20, 30))
	require.False(t, one.Empty("t", 19, 30))
	require.True(t, one.Empty("v", 0, 30))
	now = now.Add(2 * time.Hour)
	require.False(t, one.Empty("t", 20, 30), "who knows what is there by now")

	coarse := listed('e', 0, 20, downsample.FiveMinutes, "t")
	_, raw := s(a, b, coarse).Version("t", 0, 19)
	require.True(t, raw, "raw blocks have all of the time")
	_, raw = s(a, coarse).Version("t", 0, 19)
	require.False(t, raw)
	_, raw = s(a, coarse).Version("t", 0, 9)
	require.True(t, raw)
}
