// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// rig is a TSDB of 100 series a{i="..."} with a sample every 10 s for 1,000 s, behind books and an engine.
type rig struct {
	t      testing.TB
	books  *Books
	engine promql.QueryEngine
	db     *tsdb.DB
	limits Limits
	log    bytes.Buffer
	logMu  sync.Mutex
}

const rigSeries = 100

func newRig(t testing.TB, configure ...func(*Config)) *rig {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.StripeSize = 512
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	app := db.Appender(context.Background())
	for i := range rigSeries {
		for ts := int64(0); ts <= 1_000_000; ts += 10_000 {
			_, err := app.Append(0, labels.FromStrings("__name__", "a", "i", fmt.Sprint(i)), ts, float64(ts+int64(i)))
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	r := &rig{t: t, db: db, limits: Defaults()}
	cfg := Config{LimitsOf: func(string) Limits { return r.limits }, Tenant: func(req *http.Request) (string, error) {
		if tenant := req.Header.Get("X-Scope-OrgID"); tenant != "" {
			return tenant, nil
		}
		return "", errors.New("no tenant")
	}}
	for _, f := range configure {
		f(&cfg)
	}
	r.books = New(cfg, slog.New(slog.NewJSONHandler(r, nil)), prometheus.NewRegistry())
	r.engine = r.books.Engine(func(maxSamples int64) promql.QueryEngine {
		return promql.NewEngine(promql.EngineOpts{
			MaxSamples: int(maxSamples), Timeout: time.Hour, EnableAtModifier: true, EnableNegativeOffset: true,
			NoStepSubqueryIntervalFn: func(int64) int64 { return defaultSubqueryStep.Milliseconds() },
		})
	})
	return r
}

// Write takes the log.
func (r *rig) Write(p []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(p)
}

// Querier is the storage as the fan-out gives it on a lone node.
func (r *rig) store() storage.SampleAndChunkQueryable {
	return Queryable(fanout{r.books.Local(store{r.db})})
}

// store makes a TSDB that of all tenants.
type store struct{ *tsdb.DB }

func (s store) Newest(string) int64 { return math.MaxInt64 }

func (s store) Querier(_ string, mint, maxt int64) (storage.Querier, error) {
	return s.DB.Querier(mint, maxt)
}

func (s store) ChunkQuerier(_ string, mint, maxt int64) (storage.ChunkQuerier, error) {
	return s.DB.ChunkQuerier(mint, maxt)
}

func (s store) ExemplarQuerier(ctx context.Context, _ string) (storage.ExemplarQuerier, error) {
	return s.DB.ExemplarQuerier(ctx)
}
func (store) LocalStart(string) int64 { return 0 }
func (store) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}
func (store) Ready() bool { return true }

type fanout struct{ local Local }

func (f fanout) Querier(mint, maxt int64) (storage.Querier, error) {
	return f.local.Querier("t", mint, maxt)
}

func (f fanout) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return f.local.ChunkQuerier("t", mint, maxt)
}

// exec runs a range query of 100 steps under an account with the limits of the rig.
func (r *rig) exec(expr string) (*Account, *promql.Result) {
	r.t.Helper()
	a := &Account{limits: r.limits}
	ctx, finish := r.books.account(context.Background(), a)
	defer finish()
	q, err := r.engine.NewRangeQuery(ctx, r.store(), nil, expr, time.Unix(0, 0), time.Unix(990, 0), 10*time.Second)
	require.NoError(r.t, err)
	defer q.Close()
	return a, q.Exec(ctx)
}

func TestAccountOfAQuery(t *testing.T) {
	r := newRig(t)
	a, res := r.exec(`a`)
	require.NoError(t, res.Err)
	require.EqualValues(t, rigSeries, a.series.Load())
	require.EqualValues(t, rigSeries*100, a.engineRead.Load())
	require.InEpsilon(t, rigSeries*101, a.samples.Load(), 0.3, "16 series are counted, and one of each 32 that follow")
	require.Equal(t, a.samples.Load()*localSampleBytes, a.localBytes.Load())
	require.Greater(t, a.memory.Load(), int64(rigSeries*(seriesMemory+100*pointMemory)))
	require.Less(t, a.memory.Load(), int64(rigSeries*20_000), "the text of the result counts as well")
	require.Zero(t, r.books.held.Load(), "all is given back")
	require.Empty(t, r.books.accounts())
	require.Zero(t, r.books.turns.running)
}

func TestLimitsOfAQuery(t *testing.T) {
	r := newRig(t)
	f := func(change func(*Limits), expr string, want Name, says string) {
		t.Helper()
		r.limits = Defaults()
		change(&r.limits)
		before := testutil.ToFloat64(r.books.metrics.refusals.WithLabelValues(string(want)))
		_, res := r.exec(expr)
		require.ErrorContains(t, res.Err, says)
		require.ErrorContains(t, res.Err, want.Flag())
		require.ErrorContains(t, res.Err, string(want)+" in --limits.config-file")
		require.Equal(t, want, nameOf(res.Err))
		require.InDelta(t, before+1, testutil.ToFloat64(r.books.metrics.refusals.WithLabelValues(string(want))), 0, "counted once")
	}
	f(func(l *Limits) { l.MaxSeries = 99 }, `sum(a)`, Series, "the query touches more than 99 series, which is the limit")
	f(func(l *Limits) { l.MaxSeries = 199 }, `a + a`, Series, "more than 199 series")
	f(func(l *Limits) { l.MaxSamples = 5_000 }, `rate(a[1m])`, Samples, "too many samples into memory: more than 5000 at a time")
	f(func(l *Limits) { l.MaxBytes = 10_000 }, `a`, Bytes, "and the limit is 10000 (query_max_bytes)")
	f(func(l *Limits) { l.MaxMatchers = 1 }, `a{i="1"}`, Matchers, "2 label matchers")
	f(func(l *Limits) { l.MaxRegexBytes = 2 }, `a{i=~"1.*"}`, RegexBytes, "counts 12 bytes, and the limit is 2 (query_max_regex_bytes)")
	f(func(l *Limits) { l.Timeout = time.Nanosecond }, `max_over_time(a[1000s:1s])`, Timeout, "query timed out in query execution: it took longer than 1ns, which is the limit")

	r.limits = Defaults()
	r.limits.MaxSeries, r.limits.MaxSamples = 100, 10_101
	_, res := r.exec(`a`)
	require.NoError(t, res.Err, "what is allowed is answered")
}

// A tenant may have an engine of its own; those with the same limit share one.
func TestEnginesBySamples(t *testing.T) {
	built := 0
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	e := b.Engine(func(int64) promql.QueryEngine {
		built++
		return promql.NewEngine(promql.EngineOpts{Timeout: time.Hour})
	}).(*engine)
	one, two := &Account{limits: Limits{MaxSamples: 1}}, &Account{limits: Limits{MaxSamples: 2}}
	require.Same(t, e.pick(one), e.pick(one))
	require.NotSame(t, e.pick(one), e.pick(two))
	e.pick(nil)
	require.Equal(t, 3, built)
}

// A query that is ended while it runs stops, says why, and frees its turn, also where its context is not that of the request.
func TestEndedWhileRunning(t *testing.T) {
	r := newRig(t)
	a := &Account{limits: r.limits}
	ctx, finish := r.books.account(context.Background(), a)
	defer finish()
	begun := make(chan struct{})
	blocked := &blockedQueryable{begun: begun}
	q, err := r.engine.NewInstantQuery(ctx, Queryable(blocked), nil, `a`, time.Unix(1000, 0))
	require.NoError(t, err)
	defer q.Close()
	done := make(chan *promql.Result)
	go func() { done <- q.Exec(context.WithoutCancel(ctx)) }()
	<-begun
	require.Zero(t, r.books.turns.running, "whoever waits for members computes nothing")
	_ = a.end(tooHeavy(1<<30, 3<<30, 4<<30))
	res := <-done
	require.ErrorContains(t, res.Err, "short of memory")
	require.Zero(t, r.books.turns.running)
}

// What stands between the engine and those who ask knows only that its context is over.
func TestExplained(t *testing.T) {
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	a := &Account{}
	ctx, finish := b.account(context.Background(), a)
	defer finish()
	e := b.Again(impatient{})
	for _, kind := range []string{"instant", "range"} {
		var q promql.Query
		var err error
		if kind == "instant" {
			q, err = e.NewInstantQuery(ctx, nil, nil, `1`, time.Unix(0, 0))
		} else {
			q, err = e.NewRangeQuery(ctx, nil, nil, `1`, time.Unix(0, 0), time.Unix(1, 0), time.Second)
		}
		require.NoError(t, err)
		require.ErrorAs(t, q.Exec(ctx).Err, new(promql.ErrQueryCanceled))
		_ = a.end(tooHeavy(1<<30, 3<<30, 4<<30))
		require.ErrorContains(t, q.Exec(ctx).Err, "short of memory")
		a.ended.Store(nil)
	}
}

// impatient is an engine whose queries are always over.
type impatient struct{ promql.QueryEngine }

func (impatient) NewInstantQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time) (promql.Query, error) {
	return canceled{}, nil
}

func (impatient) NewRangeQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time, time.Time, time.Duration) (promql.Query, error) {
	return canceled{}, nil
}

type canceled struct{ promql.Query }

func (canceled) Exec(context.Context) *promql.Result {
	return &promql.Result{Err: promql.ErrQueryCanceled("expression evaluation")}
}

// blockedQueryable waits until its context ends.
type blockedQueryable struct {
	storage.SampleAndChunkQueryable
	begun chan struct{}
}

func (b *blockedQueryable) Querier(int64, int64) (storage.Querier, error) {
	return &blockedQuerier{b: b}, nil
}

type blockedQuerier struct {
	storage.Querier
	b *blockedQueryable
}

func (q *blockedQuerier) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	return &blockedSet{SeriesSet: storage.EmptySeriesSet(), ctx: ctx, b: q.b}
}
func (*blockedQuerier) Close() error { return nil }

type blockedSet struct {
	storage.SeriesSet
	ctx context.Context
	b   *blockedQueryable
}

func (s *blockedSet) Next() bool {
	close(s.b.begun)
	<-s.ctx.Done()
	return false
}
func (s *blockedSet) Err() error { return s.ctx.Err() }

func TestLabelCallsAndChunks(t *testing.T) {
	r := newRig(t)
	a := &Account{limits: r.limits}
	ctx, finish := r.books.account(context.Background(), a)
	defer finish()
	q, err := r.store().Querier(0, 1_000_000)
	require.NoError(t, err)
	defer q.Close()
	values, _, err := q.LabelValues(ctx, "i", nil)
	require.NoError(t, err)
	require.Len(t, values, rigSeries)
	require.Positive(t, a.memory.Load())
	_, _, err = q.LabelNames(ctx, nil, labels.MustNewMatcher(labels.MatchRegexp, "i", ".+"))
	require.NoError(t, err)

	cq, err := r.store().ChunkQuerier(0, 1_000_000)
	require.NoError(t, err)
	defer cq.Close()
	all := labels.MustNewMatcher(labels.MatchEqual, "__name__", "a")
	read := func() (n int, err error) {
		set := cq.Select(ctx, true, nil, all)
		for set.Next() {
			it := set.At().Iterator(nil)
			for it.Next() {
				n += len(it.At().Chunk.Bytes())
			}
			if it.Err() != nil {
				return n, it.Err()
			}
		}
		return n, set.Err()
	}
	n, err := read()
	require.NoError(t, err)
	require.EqualValues(t, n, a.localBytes.Load(), "chunks are counted to the byte")
	require.EqualValues(t, rigSeries, a.series.Load())
	require.Zero(t, r.books.turns.running)
	a.limits.MaxBytes = int64(n) + 100
	_, err = read()
	require.ErrorContains(t, err, "query_max_bytes")

	timed := &Account{limits: r.limits}
	ctx, finish = r.books.account(context.Background(), timed)
	defer finish()
	_ = timed.end(timedOut(time.Second))
	_, _, err = q.LabelValues(ctx, "i", nil)
	require.ErrorContains(t, err, "longer than 1s")
}

// handle serves the rig's instant and range queries as the API does, in short.
func (r *rig) handle(w http.ResponseWriter, req *http.Request) {
	expr := req.Form.Get("query")
	q, err := r.engine.NewRangeQuery(req.Context(), r.store(), nil, expr, time.Unix(0, 0), time.Unix(990, 0), 10*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer q.Close()
	if res := q.Exec(req.Context()); res.Err != nil {
		http.Error(w, res.Err.Error(), http.StatusInternalServerError) // As remote read answers everything.
		return
	}
	_, _ = w.Write([]byte("done"))
}

func (r *rig) get(h http.Handler, path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodGet, path+"?"+form.Encode(), nil)
	req.Header.Set("X-Scope-OrgID", "t")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestHandler(t *testing.T) {
	r := newRig(t)
	h := r.books.Handler(http.HandlerFunc(r.handle))
	w := r.get(h, "/api/v1/query_range", url.Values{"query": {"a"}})
	require.Equal(t, "done", w.Body.String())

	refused := func(form url.Values, status int, says string) {
		t.Helper()
		w := r.get(h, "/api/v1/query_range", form)
		require.Equal(t, status, w.Code)
		var answer struct{ Status, ErrorType, Error string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
		require.Equal(t, "error", answer.Status)
		require.Contains(t, answer.Error, says)
	}
	refused(url.Values{"query": {strings.Repeat("(", 5000)}}, 422, "nested 5000 levels deep")
	refused(url.Values{"match[]": {strings.Repeat(" ", 300_000)}}, 422, "the query is 300000 bytes long")
	refused(url.Values{"query": {"a"}, "start": {"NaN"}}, 400, `invalid parameter "start": "NaN" is not a number`)
	refused(url.Values{"query": {"a"}, "start": {"0"}, "end": {"+Inf"}}, 400, `invalid parameter "end"`)
	for path, form := range map[string]url.Values{ // What an endpoint does not read is nothing to it.
		"/api/v1/query_range": {"query": {"a"}, "time": {"NaN"}}, "/api/v1/query": {"query": {"a"}, "end": {"NaN"}, "timeout": {"Inf"}}, "/api/v1/format_query": {"query": {"a"}, "start": {"NaN"}},
	} {
		require.Equal(t, "done", r.get(h, path, form).Body.String(), path)
	}
	r.limits.MaxRange = time.Hour
	refused(url.Values{"query": {"a"}, "start": {"0"}, "end": {"2015-07-01T20:10:51Z"}, "step": {"1h"}}, 422, "query_max_range")

	// One that is ended while it runs is answered with the status of the reason.
	r.limits.MaxSeries = 10
	w = r.get(h, "/api/v1/read", url.Values{"query": {"a"}})
	require.Equal(t, 422, w.Code)
	require.Contains(t, w.Body.String(), "more than 10 series")

	for says, length := range map[string]int64{"they have 104857600 bytes; a form may have 10 MiB": 100 << 20, "too large; a form may have 10 MiB": -1} {
		req := httptest.NewRequest(http.MethodPost, "/api/v1/query", strings.NewReader("query="+strings.Repeat("a", 11<<20)))
		req.ContentLength = length
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("X-Scope-OrgID", "t")
		w = httptest.NewRecorder()
		h.ServeHTTP(w, req)
		require.Equal(t, 400, w.Code)
		require.Contains(t, w.Body.String(), says)
	}
}

// What is no query, and what others refuse, is passed on without an account.
func TestHandlerPassesOn(t *testing.T) {
	r := newRig(t)
	passed := 0
	h := r.books.Handler(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		require.Nil(t, From(req.Context()))
		passed++
	}))
	r.get(h, "/api/v1/status/flags", nil)
	r.get(h, "/api/v1/metadata", nil)
	r.get(h, "/api/v1/query", url.Values{"query": {strings.Repeat("(", 5000)}}, "X-Scope-OrgID", "")
	require.Equal(t, 3, passed)
	for _, path := range []string{"query", "query_range", "query_exemplars", "series", "labels", "label/x/values", "read", "format_query", "parse_query"} {
		_, ok := endpointOf(httptest.NewRequest(http.MethodGet, "/api/v1/"+path, nil))
		require.True(t, ok, path)
	}
}

func TestOverload(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxConcurrency, c.QueueWait = 1, time.Millisecond })
	release, inside := make(chan struct{}), make(chan struct{})
	h := r.books.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(inside)
		<-release
	}))
	var running sync.WaitGroup
	running.Go(func() { r.get(h, "/api/v1/query", url.Values{"query": {"slow"}}) })
	<-inside
	w := r.get(h, "/api/v1/query", url.Values{"query": {"a"}})
	require.Equal(t, 503, w.Code)
	require.Equal(t, "5", w.Header().Get("Retry-After"))
	require.Contains(t, w.Body.String(), `"errorType":"unavailable"`)

	// What runs can be seen, by its tenant and by operators.
	for _, all := range []bool{false, true} {
		w = r.get(r.books.StatusHandler(all), "/api/v1/status/queries", nil)
		require.Contains(t, w.Body.String(), `"query":"slow"`)
		w = r.get(r.books.StatusHandler(all), "/api/v1/status/queries", nil, "X-Scope-OrgID", "other")
		require.Equal(t, all, strings.Contains(w.Body.String(), `"query":"slow"`))
	}
	close(release)
	running.Wait()
	w = r.get(r.books.StatusHandler(true), "/api/v1/status/queries", nil)
	require.Contains(t, w.Body.String(), `"queries":[]`)
}

func TestSlowLog(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := newRig(t, func(c *Config) {
		c.SlowThreshold = 10 * time.Second
		c.Now = func() time.Time { return now }
	})
	h := r.books.Handler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.handle(w, req)
		a := From(req.Context())
		require.NoError(t, a.Received(1000))
		require.NoError(t, a.Spent(2000, 3))
		if req.Form.Get("slow") != "" {
			now = now.Add(time.Minute)
		}
	}))
	ask := func(query, slow string) { //nolint:unparam // Reads better.
		r.get(h, "/api/v1/query_range", url.Values{"query": {query}, "slow": {slow}, "start": {"0"}, "end": {"990"}, "step": {"10"}},
			"X-Dashboard-Uid", "dash", "X-Panel-Id", "7", "User-Agent", "Grafana/12", "X-Forwarded-For", "10.1.2.3")
	}
	ask("a", "")
	require.Empty(t, r.log.String())
	ask("a"+strings.Repeat(" ", 5000), "yes")
	line := map[string]any{}
	require.NoError(t, json.Unmarshal(r.log.Bytes(), &line))
	require.Len(t, line["query"], textMax+len("..."))
	for key, want := range map[string]any{
		"msg": "slow query", "tenant": "t", "dashboard": "dash", "panel": "7", "user_agent": "Grafana/12", "forwarded_for": "10.1.2.3",
		"remote": "192.0.2.1:1234", "endpoint": "/query_range", "series": 100.0, "samples": line["samples"], "peer_bytes": 1000.0,
		"bucket_bytes": 2000.0, "bucket_requests": 3.0, "result": "ok", "status": 200.0, "start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:16:30Z",
		"step": 1e10, "duration": 6e10,
	} {
		require.Equal(t, want, line[key], key)
	}
	require.InDelta(t, 1, testutil.ToFloat64(r.books.metrics.slow), 0)
	require.InDelta(t, 2, testutil.ToFloat64(r.books.metrics.finished.WithLabelValues("ok")), 0)
	require.InDelta(t, 4000, testutil.ToFloat64(r.books.metrics.read.WithLabelValues("bucket")), 0)
}

// What a query has read is not kept while its answer is sent.
func TestSeriesAreLetGo(t *testing.T) {
	r := newRig(t)
	a := &Account{limits: r.limits}
	ctx, finish := r.books.account(context.Background(), a)
	defer finish()
	q, err := r.engine.NewInstantQuery(ctx, r.store(), nil, `sum(a) + on() topk(1, a{i="1"})`, time.Unix(1000, 0))
	require.NoError(t, err)
	defer q.Close()
	statement := q.Statement().(*parser.EvalStmt)
	res := q.Exec(ctx)
	require.NoError(t, res.Err)
	require.Len(t, res.Value, 1)
	selectors := 0
	parser.Inspect(statement.Expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			selectors++
			require.Nil(t, v.Series)
			require.Nil(t, v.UnexpandedSeriesSet)
		}
		return nil
	})
	require.Equal(t, 2, selectors)
}
