// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// bucketBlocksOf are the blocks that are there to stay, and all.
func bucketBlocksOf(t *testing.T, n *testNode) (live, all []bucket.Listed) {
	t.Helper()
	l, err := n.srv.bucketBlocks.Metas(t.Context())
	require.NoError(t, err)
	covered := bucket.Covered(l.Blocks)
	for _, b := range l.Blocks {
		if _, ok := covered[b.Meta.ULID]; !ok && b.Marks.Deletion == nil {
			live = append(live, b)
		}
	}
	return live, l.Blocks
}

// samplesOf reads all samples of a tenant from the bucket, as a query of this node would.
func samplesOf(t *testing.T, n *testNode) map[string][]string {
	t.Helper()
	require.NoError(t, n.srv.blocks.Sync(t.Context()))
	q, err := n.srv.blocks.Querier(defaultTenant, math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "test_metric"))
	found := map[string][]string{}
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			ts, v := it.At()
			found[set.At().Labels().String()] = append(found[set.At().Labels().String()], fmt.Sprint(ts, " ", v))
		}
		require.NoError(t, it.Err())
	}
	require.NoError(t, set.Err())
	return found
}

// TestCopiesInTheBucketBecomeOne: three members upload their copies, one of them compacts, and the answers are the same.
func TestCopiesInTheBucketBecomeOne(t *testing.T) {
	nodes := startCluster(t, 3, "--storage.block-duration=10s", "--compact.deletion-delay=1m")
	const series, scrapes = 30, 40
	start := time.Now().Add(-10 * time.Minute).Truncate(40 * time.Second)
	for i := range scrapes {
		require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[i%3], series, start.Add(time.Duration(i)*time.Second), float64(i)))
	}
	for _, n := range nodes {
		require.NoError(t, n.srv.store.FlushHead(t.Context(), defaultTenant))
	}
	// What is in the bucket once all have uploaded, compacted or not.
	for _, n := range nodes {
		_, err := n.srv.uploader.Sync(t.Context())
		require.NoError(t, err)
	}
	ask := func(n *testNode) answer {
		at := fmt.Sprint(start.Add(scrapes * time.Second).Unix())
		a := query(t, n, "sum by (i) (sum_over_time(test_metric[1m])) + on () group_left () sum(count_over_time(test_metric[1m]))", "time", at)
		require.Equal(t, http.StatusOK, a.code, a.Error)
		require.Len(t, a.Data.Result, series)
		return a
	}
	answers, before := ask(nodes[0]), samplesOf(t, nodes[0])
	require.Len(t, before, series)
	for _, samples := range before {
		require.Len(t, samples, scrapes)
	}
	live, _ := bucketBlocksOf(t, nodes[0])
	require.NotEmpty(t, live)

	require.Eventually(t, func() bool {
		live, _ = bucketBlocksOf(t, nodes[0])
		return len(live) == 1
	}, eventually, 50*time.Millisecond)
	require.Equal(t, map[string]string{"tenant_id": defaultTenant}, live[0].Meta.Thanos.Labels)
	require.EqualValues(t, series*scrapes, live[0].Meta.Stats.NumSamples, "each sample once")
	require.EqualValues(t, series, live[0].Meta.Stats.NumSeries)
	for _, n := range nodes {
		require.Equal(t, before, samplesOf(t, n))
		require.Equal(t, answers, ask(n))
	}
	// A local block is not uploaded again when its original is gone, though nothing here says that it was.
	_, all := bucketBlocksOf(t, nodes[0])
	for _, b := range all {
		if b.Meta.ULID != live[0].Meta.ULID {
			require.NoError(t, nodes[0].srv.bucketBlocks.Delete(t.Context(), b.Meta.ULID))
		}
	}
	n := nodes[0]
	require.NoError(t, os.Remove(filepath.Join(n.srv.store.TenantDir(defaultTenant), "penstock.shipper.json")))
	n.stop(t)
	n.start(t)
	_, err := n.srv.uploader.Sync(t.Context())
	require.NoError(t, err)
	// Who leaves finds its samples in the bucket.
	listing, err := n.srv.bucketBlocks.Metas(t.Context())
	require.NoError(t, err)
	local := n.srv.store.Blocks(defaultTenant)
	require.NotEmpty(t, local)
	for _, meta := range local {
		require.Empty(t, notIn(listing, []ulid.ULID{meta.ULID}))
	}
	require.Equal(t, before, samplesOf(t, nodes[0]))
	_, all = bucketBlocksOf(t, nodes[0])
	require.Len(t, all, 1)
}

// TestGroupOwner: one of the members that are alive and ACTIVE owns a key, all agree, and the keys of one that is gone are spread.
func TestGroupOwner(t *testing.T) {
	member := func(name string, state ring.State, alive bool) ring.MemberStatus {
		return ring.MemberStatus{Member: ring.Member{Name: name, State: state}, Alive: alive}
	}
	now := time.Now()
	ownersIn := func(view ring.View) func(key string) []string {
		each := map[string]*groupOwner{}
		for _, m := range view.Members {
			v := view
			v.Self = m.Name
			each[m.Name] = &groupOwner{view: func() *ring.View { return &v }, minorityAfter: time.Minute}
		}
		return func(key string) (found []string) {
			for _, name := range slices.Sorted(maps.Keys(each)) {
				if each[name].owns(key, now) {
					found = append(found, name)
				}
			}
			return found
		}
	}
	all := ring.View{Members: []ring.MemberStatus{
		member("a", ring.Active, true), member("b", ring.Active, true), member("c", ring.Active, true),
		member("d", ring.Joining, true), member("e", ring.Leaving, true), member("f", ring.Left, true), member("g", ring.Active, false),
	}}
	without := ring.View{Members: slices.Clone(all.Members)}
	without.Members[1].Alive = false
	count := map[string]int{}
	owners, later := ownersIn(all), ownersIn(without)
	for i := range 300 {
		key := fmt.Sprintf("0@{tenant_id=\"%d\"}", i)
		got := owners(key)
		require.Len(t, got, 1)
		count[got[0]]++
		next := later(key)
		require.Len(t, next, 1)
		if got[0] != "b" {
			require.Equal(t, got, next, "nothing moves between members that stay")
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		require.Greater(t, count[name], 50, name)
	}
	cut := all
	cut.MinoritySince = now.Add(-2 * time.Minute)
	require.Empty(t, ownersIn(cut)("x"))
	lone := ring.View{Members: all.Members[:1]}
	require.Equal(t, []string{"a"}, ownersIn(lone)("x"))
}

func TestCompactionIsOff(t *testing.T) {
	n := &testNode{args: []string{
		"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0", "--no-compact.enabled",
	}}
	n.start(t)
	require.Nil(t, n.srv.compactor)
	ok, err := n.srv.compacted(context.Background(), [16]byte{1})
	require.NoError(t, err)
	require.False(t, ok)
}

func TestCompactFlags(t *testing.T) {
	for arg, want := range map[string]string{
		"--compact.concurrency=0":          "--compact.concurrency=0 must be at least 1",
		"--compact.deletion-delay=10m":     "--compact.deletion-delay=10m must be at least 40m",
		"--compact.consistency-delay=0s":   "--compact.consistency-delay must be above 0",
		"--compact.block-sync-interval=0s": "--compact.block-sync-interval must be above 0",
		"--compact.scratch-bytes=-1B":      "must not be below 0",
		"--compact.block-sync-interval=1h": "must be at most 10m",
		"--retention.raw=30d":              "",
		"--compact.scratch-bytes=100GiB":   "",
		"--compact.block-sync-interval=1m": "",
		"--compact.deletion-delay=40m":     "",
		"--storage.block-duration=10s":     "",
	} {
		app := kingpin.New("penstock", "")
		cfg := addNodeFlags(app.Command("run", "").Default())
		_, err := app.Parse([]string{arg})
		require.NoError(t, err, arg)
		if want == "" {
			require.NoError(t, cfg.finish(), arg)
		} else {
			require.ErrorContains(t, cfg.finish(), want)
		}
	}
}
