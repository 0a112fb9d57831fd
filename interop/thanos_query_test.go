// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/thanos-io/thanos/pkg/block"
	"github.com/thanos-io/thanos/pkg/component"
	"github.com/thanos-io/thanos/pkg/dedup"
	"github.com/thanos-io/thanos/pkg/query"
	"github.com/thanos-io/thanos/pkg/store"
	"github.com/thanos-io/thanos/pkg/store/storepb"
	storetestutil "github.com/thanos-io/thanos/pkg/store/storepb/testutil"
	"go.uber.org/atomic"
)

const (
	queryTimeout    = time.Minute
	selectsAtOnce   = 4
	lookbackDefault = 5 * time.Minute
)

// thanosQuerier answers as Thanos' querier does that has one store gateway.
type thanosQuerier struct {
	t             *testing.T
	create        query.QueryableCreator
	replicaLabels []string
}

// querier opens a store on the blocks that are in the bucket now.
func (b *thanosBucket) querier(replicaLabels ...string) *thanosQuerier {
	b.t.Helper()
	var always store.FilterConfig
	noError(b.t, always.MinTime.Set("0000-01-01T00:00:00Z"))
	noError(b.t, always.MaxTime.Set("9999-12-31T23:59:59Z"))
	gateway, err := store.NewBucketStore(
		b.bkt, b.fetcher(block.NewDeduplicateFilter(fetchersMax)), b.t.TempDir(),
		store.NewChunksLimiterFactory(0), store.NewSeriesLimiterFactory(0), store.NewBytesLimiterFactory(0),
		store.NewGapBasedPartitioner(store.PartitionerMaxGapSize), fetchersMax, store.DefaultPostingOffsetInMemorySampling,
		false, false, 0, store.WithFilterConfig(&always), store.WithChunkHashCalculation(true),
	)
	noError(b.t, err)
	b.t.Cleanup(func() { _ = gateway.Close() })
	noError(b.t, gateway.SyncBlocks(b.t.Context()))
	mint, maxt := gateway.TimeRange()
	client := storetestutil.TestClient{
		StoreClient: storepb.ServerAsClient(gateway, atomic.Bool{}), Name: "gateway", MinTime: mint, MaxTime: maxt,
		WithoutReplicaLabelsEnabled: true, IsLocalStore: true,
	}
	proxy := store.NewProxyStore(nopLogger, nil, func() []store.Client { return []store.Client{client} }, component.Query,
		labels.EmptyLabels(), queryTimeout, store.EagerRetrieval)
	return &thanosQuerier{
		t: b.t, replicaLabels: replicaLabels,
		create: query.NewQueryableCreator(nopLogger, nil, proxy, selectsAtOnce, queryTimeout, dedup.AlgorithmPenalty, 0),
	}
}

// ask asks a question. A sample stands for its series as long as samples may be apart, as in Thanos' API.
func (q *thanosQuerier) ask(what question) answer {
	q.t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: queryTimeout, LookbackDelta: max(lookbackDefault, what.resolution), EnableAtModifier: true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
	})
	queryable := q.create(len(q.replicaLabels) > 0, q.replicaLabels, nil, what.resolution.Milliseconds(), false, false, nil, query.NoopSeriesStatsReporter)
	r, err := evaluate(q.t, engine, queryable, what)
	noError(q.t, err)
	if w, _ := r.Warnings.AsStrings(what.expr, 0, 0); len(w) > 0 {
		q.t.Errorf("%s: Thanos warns: %q", what, w)
	}
	m, err := r.Matrix()
	noError(q.t, err)
	return answerOf(q.t, m)
}

func evaluate(t *testing.T, engine *promql.Engine, queryable storage.Queryable, what question) (*promql.Result, error) {
	t.Helper()
	var prepared promql.Query
	var err error
	if what.step > 0 {
		prepared, err = engine.NewRangeQuery(t.Context(), queryable, nil, what.expr, what.start, what.end, what.step)
	} else {
		prepared, err = engine.NewInstantQuery(t.Context(), queryable, nil, what.expr, what.end)
	}
	noError(t, err)
	t.Cleanup(prepared.Close)
	r := prepared.Exec(t.Context())
	return r, r.Err
}
