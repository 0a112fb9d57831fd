// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"
)

const (
	hour  = int64(time.Hour / time.Millisecond)
	width = 2 * hour
)

// testNow is in the middle of a block range.
var testNow = time.UnixMilli(1_700_000*1_000_000/width*width + width/2).UTC()

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openDB(t testing.TB, dir string) *tsdb.DB {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.MinBlockDuration, opts.MaxBlockDuration = width, width
	opts.OutOfOrderTimeWindow = width
	opts.RetentionDuration = 0
	opts.StripeSize = 512
	opts.EnableOverlappingCompaction = false
	db, err := tsdb.Open(dir, quiet(), nil, opts, nil)
	require.NoError(t, err)
	db.DisableCompactions()
	return db
}

// peers is a Source over one TSDB for each tenant.
type peers struct {
	dbs map[string]*tsdb.DB

	mu     sync.Mutex
	survey Survey
	err    error             // Of Survey.
	before func(Query) error // Called before each read.
	wrap   func(storage.ChunkSeriesSet) storage.ChunkSeriesSet
	lack   []string
	reads  []Query
}

func (p *peers) Survey(context.Context) (Survey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.survey, p.err
}

func (p *peers) Read(ctx context.Context, q Query) (Reading, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads = append(p.reads, q)
	if p.before != nil {
		if err := p.before(q); err != nil {
			return Reading{}, err
		}
	}
	db := p.dbs[q.Tenant]
	if db == nil {
		return Reading{Set: storage.EmptyChunkSeriesSet(), Lacking: p.lack, Close: func() error { return nil }}, nil
	}
	cq, err := db.ChunkQuerier(q.MinTime, q.MaxTime-1)
	if err != nil {
		return Reading{}, err
	}
	var set storage.ChunkSeriesSet = &partSet{cq.Select(ctx, true, nil, everySeries()), q}
	if p.wrap != nil {
		set = p.wrap(set)
	}
	return Reading{Set: set, Lacking: p.lack, Close: cq.Close}, nil
}

type partSet struct {
	storage.ChunkSeriesSet
	q Query
}

func (s *partSet) Next() bool {
	for s.ChunkSeriesSet.Next() {
		if labels.StableHash(s.At().Labels())%uint64(s.q.Parts) == uint64(s.q.Part) {
			return true
		}
	}
	return false
}

// disk is a Store that keeps blocks in directories as a TSDB does.
type disk struct {
	dir string

	mu     sync.Mutex
	losses []Loss
	before func(tenant string) error // Called before each AddBlock.
	added  int
}

func newDisk(t testing.TB, losses ...Loss) *disk {
	d := &disk{dir: t.TempDir(), losses: losses}
	require.NoError(t, os.Mkdir(d.RefillDir(), 0o777))
	return d
}

func (d *disk) RefillDir() string { return filepath.Join(d.dir, ".refill") }

func (d *disk) Losses() []Loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.losses)
}

func (d *disk) ResolveLoss(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.losses = slices.DeleteFunc(d.losses, func(l Loss) bool { return l.ID == id })
	return nil
}

func (d *disk) AddBlock(_ context.Context, tenant, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.before != nil {
		if err := d.before(tenant); err != nil {
			return err
		}
	}
	to := filepath.Join(d.dir, tenant)
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	d.added++
	return os.Rename(dir, filepath.Join(to, filepath.Base(dir)))
}

func (d *disk) scratch(t testing.TB) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(d.RefillDir())
	require.NoError(t, err)
	return entries
}

// fill writes floats, stale markers, histograms of both kinds and out-of-order samples from
// from to to, and returns the TSDB.
func fill(t testing.TB, series int, from, to int64) *tsdb.DB {
	t.Helper()
	db := openDB(t, t.TempDir())
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	ctx := context.Background()
	for at := from; at < to; at += 5 * 60_000 {
		app := db.Appender(ctx)
		for i := range series {
			lset := seriesOf(i)
			var err error
			n := (at - from) / 60_000
			switch {
			case i%4 == 1:
				_, err = app.AppendHistogram(0, lset, at, tsdbutil.GenerateTestHistogram(n+int64(i)), nil)
			case i%4 == 2:
				_, err = app.AppendHistogram(0, lset, at, nil, tsdbutil.GenerateTestFloatHistogram(n+int64(i)))
			case i%4 == 3 && n%25 == 20:
				_, err = app.Append(0, lset, at, math.Float64frombits(value.StaleNaN))
			default:
				_, err = app.Append(0, lset, at, float64(n)+float64(i)/8)
			}
			require.NoError(t, err)
		}
		require.NoError(t, app.Commit())
	}
	app := db.Appender(ctx)
	for i := range series {
		if i%4 == 0 { // Older than what is there.
			_, err := app.Append(0, seriesOf(i), to-17*60_000+int64(i), -1)
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	return db
}

func seriesOf(i int) labels.Labels {
	return labels.FromStrings("__name__", "metric", "i", fmt.Sprintf("%04d", i), "j", "µ")
}

// contents is every sample of a TSDB as text, by series.
func contents(t testing.TB, db *tsdb.DB, mint, maxt int64, keep func(labels.Labels) bool) map[string][]string {
	t.Helper()
	q, err := db.Querier(mint, maxt-1)
	require.NoError(t, err)
	defer q.Close()
	out := map[string][]string{}
	set := q.Select(context.Background(), true, nil, everySeries())
	for set.Next() {
		s := set.At()
		if keep != nil && !keep(s.Labels()) {
			continue
		}
		name := s.Labels().String()
		it := s.Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			out[name] = append(out[name], sampleText(it, kind))
		}
		require.NoError(t, it.Err())
	}
	require.NoError(t, set.Err())
	return out
}

func sampleText(it chunkenc.Iterator, kind chunkenc.ValueType) string {
	switch kind {
	case chunkenc.ValHistogram:
		at, h := it.AtHistogram(nil)
		h.CounterResetHint = histogram.UnknownCounterReset
		return fmt.Sprint(at, h)
	case chunkenc.ValFloatHistogram:
		at, h := it.AtFloatHistogram(nil)
		h.CounterResetHint = histogram.UnknownCounterReset
		return fmt.Sprint(at, h)
	default:
		at, v := it.At()
		return fmt.Sprintf("%d %x", at, math.Float64bits(v))
	}
}

// requireRefilled opens what was added for a tenant as a TSDB and compares it with the source.
func requireRefilled(t testing.TB, d *disk, tenant string, source *tsdb.DB, mint, maxt int64, keep func(labels.Labels) bool) {
	t.Helper()
	want := contents(t, source, mint, maxt, keep)
	if len(want) == 0 {
		require.NoDirExists(t, filepath.Join(d.dir, tenant))
		return
	}
	db := openDB(t, filepath.Join(d.dir, tenant))
	defer func() { require.NoError(t, db.Close()) }()
	require.Equal(t, want, contents(t, db, math.MinInt64, math.MaxInt64, nil))
	for _, b := range db.Blocks() {
		meta := b.Meta()
		require.True(t, meta.Compaction.FromOutOfOrder())
		require.Equal(t, floorDiv(meta.MinTime, width), floorDiv(meta.MaxTime-1, width))
		require.EqualValues(t, b.Meta().Stats.NumSeries > 0, true)
	}
}

// config waits for nothing.
func config(t testing.TB, d *disk, p *peers) Config {
	return Config{
		Store: d, Source: p, File: filepath.Join(d.dir, "refill.json"),
		BlockDuration: 2 * time.Hour, Retention: 6 * time.Hour,
		Settle: time.Millisecond, HintWait: time.Minute, Poll: time.Millisecond,
		Now: func() time.Time { return testNow },
	}
}

func newRefiller(t testing.TB, cfg Config) *Refiller {
	t.Helper()
	r, err := New(cfg, quiet(), nil)
	require.NoError(t, err)
	return r
}

var errTest = errors.New("made to fail")
