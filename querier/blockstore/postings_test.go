// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/stretchr/testify/require"
)

// noting is an index reader that notes whose postings it was asked for.
type noting struct {
	tsdb.IndexReader
	t     *testing.T
	asked map[string]bool
}

func (n noting) note(name, value string) { n.asked[name+"="+value] = true }

func (n noting) Postings(ctx context.Context, name string, values ...string) (index.Postings, error) {
	for _, v := range values {
		n.note(name, v)
	}
	return n.IndexReader.Postings(ctx, name, values...)
}

func (n noting) PostingsForLabelMatching(ctx context.Context, name string, match func(string) bool) index.Postings {
	return n.IndexReader.PostingsForLabelMatching(ctx, name, func(v string) bool {
		if match(v) {
			n.note(name, v)
			return true
		}
		return false
	})
}

func (n noting) PostingsForAllLabelValues(ctx context.Context, name string) index.Postings {
	values, err := n.SortedLabelValues(ctx, name, nil)
	require.NoError(n.t, err)
	for _, v := range values {
		n.note(name, v)
	}
	return n.IndexReader.PostingsForAllLabelValues(ctx, name)
}

// TestListsOf compares what is fetched for matchers with what TSDB then reads: it must be all of it, and no more than TSDB
// would read if it did not stop early when nothing is left.
func TestListsOf(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	f := newFixture(t)
	_, local := f.addLocal(manySeries(r, 300))
	ix, err := local.Index()
	require.NoError(t, err)
	defer ix.Close()
	exists := map[string]bool{}
	names, err := ix.LabelNames(t.Context())
	require.NoError(t, err)
	type pair struct{ name, value string }
	all := []pair{{}}
	for _, name := range names {
		values, err := ix.SortedLabelValues(t.Context(), name, nil)
		require.NoError(t, err)
		for _, v := range values {
			all = append(all, pair{name, v})
		}
	}
	for _, p := range all {
		exists[p.name+"="+p.value] = true
	}
	exact := 0
	for range 2000 {
		ms := randomMatchers(r)
		fetched := map[string]bool{}
		needed := listsOf(ms)
		for _, p := range all {
			if needed(p.name, p.value) {
				fetched[p.name+"="+p.value] = true
			}
		}
		n := noting{ix, t, map[string]bool{}}
		text := fmt.Sprint(ms)
		_, err := tsdb.PostingsForMatchers(t.Context(), n, ms...)
		require.NoError(t, err)
		for p := range n.asked {
			require.True(t, fetched[p] || !exists[p], "%s reads %s", text, p)
			delete(fetched, p)
		}
		if len(fetched) == 0 {
			exact++
		}
	}
	require.Greater(t, exact, 1000)
}

// TestCut joins and cuts runs, and loses none.
func TestCut(t *testing.T) {
	l := layout{objects: []object{{"index", 100 * pageBytes, 0}, {"chunks/000001", 64 * pageBytes, 128}, {"chunks/000002", 5, 192}}, pages: 193}
	require.Equal(t, []run{{0, 3}, {10, 20}}, l.cut(runs{{0, 3}, {10, 20}}, 6))
	require.Equal(t, []run{{0, 20}}, l.cut(runs{{0, 3}, {10, 20}}, 7))
	require.Equal(t, []run{{99, 100}, {128, 140}}, l.cut(runs{{99, 100}, {128, 140}}, 1000), "not over the end of an object")
	require.Equal(t, []run{{190, 192}, {192, 193}}, l.cut(runs{{190, 193}}, 1000))
	big := layout{objects: []object{{"index", 10 * maxRequestBytes, 0}}, pages: 10 * maxRequestBytes / pageBytes}
	const most = maxRequestBytes / pageBytes
	require.Equal(t, []run{{5, 5 + most}, {5 + most, 7 + most}}, big.cut(runs{{5, 7 + most}}, 3))

	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var want runs
		for page := 0; page < l.pages; page++ {
			if r.IntN(5) == 0 && (page < 100 || page >= 128) {
				want = want.add(run{page, page + 1})
			}
		}
		gap := r.IntN(10)
		in := newBitmap(l.pages)
		last := -1
		for _, c := range l.cut(want, gap) {
			require.Greater(t, c.from, last)
			last = c.to - 1
			require.LessOrEqual(t, c.to, l.at(c.from).first+l.at(c.from).pages())
			for page := c.from; page < c.to; page++ {
				in.set(page)
			}
		}
		for _, w := range want {
			require.Equal(t, run{}, in.missing(w))
		}
	}
}
