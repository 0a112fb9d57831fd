// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

const testTenant = "team-a"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func tenantOf(r *http.Request) (string, error) { return r.Header.Get(headerTenant), nil }

func tenantCtx() context.Context { return WithTenant(context.Background(), testTenant) }

// store is a Local over one TSDB, the tenant testTenant.
type store struct {
	db      *tsdb.DB
	start   int64
	opening atomic.Bool
	empty   bool  // It knows no tenant, and may be without a TSDB.
	broken  error // What opening a querier fails with.
}

func newStore(t testing.TB) *store {
	opts := tsdb.DefaultOptions()
	opts.MinBlockDuration = int64(2 * time.Hour / time.Millisecond)
	opts.MaxBlockDuration = opts.MinBlockDuration
	opts.OutOfOrderTimeWindow = int64(2 * time.Hour / time.Millisecond)
	opts.RetentionDuration = 0
	opts.StripeSize = 512
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = 100
	db, err := tsdb.Open(t.TempDir(), quiet(), nil, opts, nil)
	require.NoError(t, err)
	db.DisableCompactions()
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &store{db: db, start: math.MinInt64}
}

func (s *store) Querier(tenant string, mint, maxt int64) (storage.Querier, error) {
	if s.broken != nil || s.empty || tenant != testTenant {
		return storage.NoopQuerier(), s.broken
	}
	return s.db.Querier(mint, maxt)
}

func (s *store) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	if s.broken != nil || s.empty || tenant != testTenant {
		return storage.NoopChunkedQuerier(), s.broken
	}
	return s.db.ChunkQuerier(mint, maxt)
}

func (s *store) ExemplarQuerier(ctx context.Context, _ string) (storage.ExemplarQuerier, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	return s.db.ExemplarQuerier(ctx)
}

func (s *store) LocalStart(string) int64 { return s.start }

func (s *store) Newest(string) int64 { return maxTime }

// BlockSets implements Local and Blocks: it has no blocks.
func (*store) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}

func (s *store) Ready() bool { return !s.opening.Load() }

// write appends samples of one series, in any order that the out-of-order window allows.
func (s *store) write(t testing.TB, lset labels.Labels, samples ...tsample) {
	t.Helper()
	app := s.db.AppenderV2(context.Background())
	for _, p := range samples {
		_, err := app.Append(0, lset, 0, p.t, p.f, p.h, p.fh, storage.AOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, app.Commit())
}

func (s *store) writeExemplar(t testing.TB, lset labels.Labels, e exemplar.Exemplar) {
	t.Helper()
	app := s.db.Appender(context.Background())
	_, err := app.Append(0, lset, e.Ts, 1)
	require.NoError(t, err)
	_, err = app.AppendExemplar(0, lset, e)
	require.NoError(t, err)
	require.NoError(t, app.Commit())
}

// tsample is a sample of any kind.
type tsample struct {
	t  int64
	f  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func floats(from, to, step int64, value func(i int64) float64) []tsample {
	var out []tsample
	for t := from; t <= to; t += step {
		out = append(out, tsample{t: t, f: value((t - from) / step)})
	}
	return out
}

// cluster is a Querier whose member 0 is this process and whose others are HTTP servers, all over real TSDBs.
type cluster struct {
	*Querier
	stores  []*store
	servers []*httptest.Server // None for member 0.
	members Membership
	reg     *prometheus.Registry
}

// newCluster makes n members m0 to mn-1. Zones are given by name, all "" if none are.
func newCluster(t testing.TB, n, rf int, configure ...func(*Config)) *cluster {
	stores := make([]*store, n)
	for i := range stores {
		stores[i] = newStore(t)
	}
	return clusterOf(t, rf, stores, configure...)
}

func clusterOf(t testing.TB, rf int, stores []*store, configure ...func(*Config)) *cluster {
	c := &cluster{stores: stores, servers: make([]*httptest.Server, len(stores)), reg: prometheus.NewRegistry()}
	c.members.RF = rf
	for i, s := range stores {
		m := Member{Name: "m" + string(rune('0'+i)), Self: i == 0, Alive: true, Serving: true}
		if i > 0 {
			c.servers[i] = httptest.NewServer(NewPeerHandler(PeerHandlerConfig{Local: s, Tenant: tenantOf, Heads: headOf(s, m.Name, rf)}, quiet(), nil))
			t.Cleanup(c.servers[i].Close)
			m.URL = c.servers[i].URL
		}
		c.members.Members = append(c.members.Members, m)
	}
	cfg := Config{Local: stores[0], Members: func() Membership { return c.members }, Heads: headOf(stores[0], "m0", rf)}
	for _, f := range configure {
		f(&cfg)
	}
	c.Querier = New(cfg, quiet(), c.reg)
	return c
}

// stop makes a member unreachable without gossip knowing of it yet.
func (c *cluster) stop(i int) { c.servers[i].Close() }

// replace puts another server in a member's place.
func (c *cluster) replace(t testing.TB, i int, h http.Handler) {
	c.servers[i].Close()
	c.servers[i] = httptest.NewServer(h)
	t.Cleanup(c.servers[i].Close)
	c.members.Members[i].URL = c.servers[i].URL
}

// answer is what a select gave.
type answer struct {
	series   map[string][]tsample
	order    []string
	warnings []string
	err      error
}

func (c *cluster) query(t testing.TB, ctx context.Context, mint, maxt int64, hints *storage.SelectHints, ms ...*labels.Matcher) answer {
	t.Helper()
	q, err := c.Querier.Querier(mint, maxt)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	return readSamples(t, q.Select(ctx, true, hints, ms...))
}

// queryChunks is query by way of the chunk querier.
func (c *cluster) queryChunks(t testing.TB, ctx context.Context, mint, maxt int64, hints *storage.SelectHints, ms ...*labels.Matcher) answer {
	t.Helper()
	q, err := c.ChunkQuerier(mint, maxt)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	return readSamples(t, storage.NewSeriesSetFromChunkSeriesSet(q.Select(ctx, true, hints, ms...)))
}

func readSamples(t testing.TB, set storage.SeriesSet) answer {
	t.Helper()
	a := answer{series: map[string][]tsample{}}
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		name := s.Labels().String()
		require.NotContains(t, a.series, name, "a series must come once")
		it = s.Iterator(it)
		a.series[name] = drain(t, it)
		a.order = append(a.order, name)
	}
	a.err = set.Err()
	for _, w := range set.Warnings() {
		a.warnings = append(a.warnings, w.Error())
	}
	return a
}

func drain(t testing.TB, it chunkenc.Iterator) []tsample {
	t.Helper()
	var out []tsample
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		out = append(out, current(it, kind))
	}
	require.NoError(t, it.Err())
	return out
}

func current(it chunkenc.Iterator, kind chunkenc.ValueType) tsample {
	var s tsample
	switch kind {
	case chunkenc.ValHistogram:
		s.t, s.h = it.AtHistogram(nil)
	case chunkenc.ValFloatHistogram:
		s.t, s.fh = it.AtFloatHistogram(nil)
	default:
		s.t, s.f = it.At()
	}
	return s
}

func all() *labels.Matcher { return labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+") }

func named(name string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, "__name__", name)
}

type matcher = labels.Matcher

// failing is a store whose series sets end with an error after their first series.
type failing struct{ *store }

func (f failing) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := f.store.ChunkQuerier(tenant, mint, maxt)
	return failingQuerier{q}, err
}

type failingQuerier struct{ storage.ChunkQuerier }

func (q failingQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	return &failingSet{ChunkSeriesSet: q.ChunkQuerier.Select(ctx, sorted, hints, ms...)}
}

type failingSet struct {
	storage.ChunkSeriesSet
	err error
}

func (s *failingSet) Next() bool {
	if s.ChunkSeriesSet.Next() {
		return true
	}
	s.err = errors.New("chunk is corrupted")
	return false
}

func (s *failingSet) Err() error { return s.err }
