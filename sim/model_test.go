// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/tsdbstore"
)

const (
	modelSeeds  = 8
	modelSteps  = 150
	modelSeries = 8
)

// TestModelAgreesWithTSDB does the same random things to the model and to a real
// tsdbstore: appends in order, out of order, too old, twice, with another value, in
// transactions that overlap; rollbacks, clean restarts, and crashes of the process at
// any time. Every verdict and everything that can be read must be the same. (That a TSDB
// loses what it accepts after a failed write is shown in tsdbstore.)
func TestModelAgreesWithTSDB(t *testing.T) {
	for s := range seed(modelSeeds) {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			p := newPair(t)
			r := s.rand("model")
			for step := range modelSteps {
				p.step(r, step)
			}
			p.compare("at the end")
		})
	}
}

// pair is the model and the real thing.
type pair struct {
	t     *testing.T
	dir   string
	opens int
	real  *tsdbstore.Store
	model *store
	base  int64
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, dir: filepath.Join(t.TempDir(), "0"), base: 1_700_000_000_000}
	p.openReal()
	t.Cleanup(func() { _ = p.real.Close() })
	p.model = newStore(newDisk(t.TempDir(), 1), true, false, func(string) error { return nil })
	p.model.open()
	tx := p.begin()
	for i := range modelSeries {
		p.append(tx, i, p.base-60_000, 0)
	}
	p.end(seed(0).rand("first"), tx)
	return p
}

func (p *pair) openReal() {
	var err error
	p.real, err = tsdbstore.Open(tsdbstore.Config{Dir: p.dir, MinFreeBytes: -1, Retention: -1}, slog.New(slog.DiscardHandler), nil)
	require.NoError(p.t, err)
	require.NoError(p.t, p.real.Replay(p.t.Context()))
}

// twin is one transaction on both.
type twin struct {
	real, model storage.AppenderV2
	// refs make it append to series that are there. Transactions that may make series wait
	// for each other, so that one goroutine cannot have two.
	refs map[int]storage.SeriesRef
}

func (p *pair) begin() twin {
	a, err := p.real.AppenderV2(context.Background(), tenant)
	require.NoError(p.t, err)
	b, err := p.model.AppenderV2(context.Background(), tenant)
	require.NoError(p.t, err)
	return twin{real: a, model: b}
}

func (p *pair) step(r *rand.Rand, step int) {
	switch x := r.IntN(100); {
	case x < 3:
		p.crash()
	case x < 6:
		require.NoError(p.t, p.real.Close())
		p.openReal()
		p.model.open()
	case x < 15:
		p.compare(fmt.Sprintf("in step %d", step))
	case x < 22: // Which of two values wins is not in the model; nobody sends two.
		tx := p.begin()
		p.fill(r, tx, step, 1)
		require.NoError(p.t, tx.real.Rollback())
		require.NoError(p.t, tx.model.Rollback())
	case x < 45: // Two that overlap.
		refs := p.references()
		one, two := p.begin(), p.begin()
		one.refs, two.refs = refs, refs
		p.fill(r, one, step, 0)
		p.fill(r, two, step, 0)
		if r.IntN(2) == 0 {
			one, two = two, one
		}
		p.end(r, one)
		p.end(r, two)
	default:
		tx := p.begin()
		p.fill(r, tx, step, 0)
		p.end(r, tx)
	}
}

// references are those of the series that there are. They are looked up in a transaction of their own: one
// that looks up a series keeps others from making one until it ends.
func (p *pair) references() map[int]storage.SeriesRef {
	refs := map[int]storage.SeriesRef{}
	tx := p.begin()
	for series := range modelSeries {
		lset := modelLabels(series)
		refs[series], _ = tx.real.(storage.GetRef).GetRef(lset, lset.Hash())
	}
	require.NoError(p.t, tx.real.Rollback())
	require.NoError(p.t, tx.model.Rollback())
	return refs
}

func modelLabels(series int) labels.Labels {
	return labels.FromStrings("__name__", "sim", "s", strconv.Itoa(series))
}

// fill appends some samples, whose values are those of their times but for other.
func (p *pair) fill(r *rand.Rand, tx twin, step int, other float64) {
	for range 1 + r.IntN(6) {
		t := p.base + int64(step)*60_000
		switch r.IntN(6) {
		case 0: // Late.
			t -= r.Int64N(3 * 3600_000)
		case 1: // Again.
			t -= int64(r.IntN(3)) * 60_000
		case 2:
			t += r.Int64N(30_000)
		}
		p.append(tx, r.IntN(modelSeries), t, other)
	}
}

func (p *pair) append(tx twin, series int, t int64, other float64) {
	lset := modelLabels(series)
	v := float64(t%1000) + other
	ref := storage.SeriesRef(0)
	if tx.refs != nil {
		if ref = tx.refs[series]; ref == 0 {
			return
		}
	}
	_, want := tx.real.Append(ref, lset, 0, t, v, nil, nil, storage.AOptions{})
	_, got := tx.model.Append(0, lset, 0, t, v, nil, nil, storage.AOptions{})
	require.Equal(p.t, kindOf(want), kindOf(got), "append %v at %d: the TSDB says %v, the model %v", lset, t, want, got)
}

func (p *pair) end(r *rand.Rand, tx twin) {
	if r.IntN(10) == 0 {
		require.NoError(p.t, tx.real.Rollback())
		require.NoError(p.t, tx.model.Rollback())
		return
	}
	require.NoError(p.t, tx.real.Commit())
	require.NoError(p.t, tx.model.Commit())
}

// crash opens a copy of what is on disk now, as after a kill.
func (p *pair) crash() {
	p.opens++
	next := filepath.Join(filepath.Dir(p.dir), fmt.Sprint(p.opens))
	require.NoError(p.t, os.CopyFS(next, os.DirFS(p.dir)))
	require.NoError(p.t, p.real.Close())
	p.dir = next
	p.openReal()
	p.model.open()
}

func (p *pair) compare(when string) {
	q, err := p.real.Querier(tenant, math.MinInt64, math.MaxInt64)
	require.NoError(p.t, err)
	defer q.Close() // Read-only.
	want := found{}
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "sim"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			t, v := it.At()
			want[set.At().Labels().String()] = append(want[set.At().Labels().String()], point{t, v})
		}
		require.NoError(p.t, it.Err())
	}
	require.NoError(p.t, set.Err())
	got := found{}
	for _, s := range p.model.series() {
		if list := p.model.points(s.lset.String()); len(list) > 0 {
			got[s.lset.String()] = list
		}
	}
	require.Equal(p.t, want, got, when)
}

// kindOf names what an error of an append means to the ingest path.
func kindOf(err error) string {
	for name, target := range map[string]error{
		"duplicate": storage.ErrDuplicateSampleForTimestamp, "too old": storage.ErrTooOldSample,
		"out of order": storage.ErrOutOfOrderSample, "out of bounds": storage.ErrOutOfBounds,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}
