// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"math"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	fanout "github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// member is the TSDB of a member: one block, of which it says since when it has everything.
type member struct {
	*tsdb.Block
	start int64
}

func (m member) Querier(_ string, mint, maxt int64) (storage.Querier, error) {
	return tsdb.NewBlockQuerier(m, mint, maxt)
}

func (m member) ChunkQuerier(_ string, mint, maxt int64) (storage.ChunkQuerier, error) {
	return tsdb.NewBlockChunkQuerier(m, mint, maxt)
}

func (member) ExemplarQuerier(context.Context, string) (storage.ExemplarQuerier, error) {
	return nil, nil
}
func (m member) LocalStart(string) int64 { return m.start }

func (m member) Newest(string) int64 { return math.MaxInt64 }

// BlockSets implements querier.Local: it has no blocks.
func (member) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}
func (member) Ready() bool { return true }

// TestJoinedToMembers: the bucket answers until the members' own samples begin, which is in the middle of a downsampled block.
// A counter that was corrected for resets goes on in one that was not.
func TestJoinedToMembers(t *testing.T) {
	f := newFixture(t)
	f.addAll(0, 2*day, downsample.FiveMinutes)
	f.addAll(2*day, 4*day, downsample.FiveMinutes)
	s := f.open(nil)

	// A chunk ends after 77 h, and the counter is reset after 70.
	start := (69*60 + 1) * minute
	c := counted(start, 4*day)
	dir, _ := buckettest.WriteBlock(t, t.TempDir(), 60*day, storage.NewListSeries(c.labels, c.samples))
	b, err := tsdb.OpenBlock(promslog.NewNopLogger(), dir, nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })

	ask := func(query string, joined func(context.Context, int64) (context.Context, func() [][2]int64)) float64 {
		q := fanout.New(fanout.Config{Local: member{b, start}, Blocks: s, Joined: joined}, nil, nil)
		ctx := fanout.WithTenant(downsample.WithLimit(t.Context(), downsample.Limit{Max: downsample.FiveMinutes, Strict: true}), "t1")
		got, _, warnings := evaluate(t, ctx, q, query, 4*day)
		require.Empty(t, warnings)
		return got
	}
	const all = "increase(requests_total[3d])"
	want := float64(3 * day / (minute / 2))
	require.InEpsilon(t, want, ask(all, downsample.WithJoined), 0.01)
	require.Greater(t, ask(all, nil), 1.05*want, "who does not know of the members' samples counts some of them twice")
	require.InDelta(t, want, ask("count_over_time(requests_total[3d])", downsample.WithJoined), 0)
}
