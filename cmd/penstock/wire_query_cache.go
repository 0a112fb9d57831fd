// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/promql"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/cache"
)

// cacheSlack is beside the out-of-order window and the age of hints: what deduplication looks at around a sample is not more than
// five minutes, and a write that is under way ends within a minute.
const cacheSlack = 6 * time.Minute

func addQueryCacheFlags(cmd *kingpin.CmdClause, c *queryConfig) {
	cmd.Flag("query.cache-bytes", "Most bytes of memory for parts of answers to range queries. 0: none are kept, and ranges are not split.").
		Default("128MiB").BytesVar(&c.cacheBytes)
}

// cached puts the cache of answers before the engine.
func (s *server) cached(engine promql.QueryEngine) promql.QueryEngine {
	wait := time.Duration(s.cfg.storage.outOfOrderWindow) + hintAge(time.Duration(s.cfg.storage.outOfOrderWindow)) + cacheSlack
	return cache.New(cache.Config{
		Engine: engine,
		Parser: newParser(),

		LookbackDelta: lookbackDelta,

		MaxBytes:   int64(s.cfg.query.cacheBytes),
		MaxSamples: func(ctx context.Context) int { return int(s.queryLimits(queryTenant(ctx)).MaxSamples) },
		Scope:      queryScope,
		Version:    s.dataVersion,
		Settled:    func() int64 { return time.Now().Add(-wait).UnixMilli() },
		Watch:      watchQuery,
	}, s.reg)
}

// watchQuery tells until when values of steps cannot change as far as the members know who were asked.
func watchQuery(ctx context.Context) (context.Context, func() int64) {
	ctx, from := querier.Watch(ctx)
	return ctx, func() int64 {
		t := from()
		if t < math.MinInt64+cacheSlack.Milliseconds() {
			return t
		}
		return t - cacheSlack.Milliseconds()
	}
}

// dataVersion changes with the blocks in the bucket that are of a time range, and with what members lack and were given back. Samples that
// are merely moved from one to the other are the same. How downsampled blocks cover a range depends on all of it, so that where they must be
// read an answer is not put together.
func (s *server) dataVersion(ctx context.Context, mint, maxt int64) (version string, divisible bool) {
	blocks, divisible := uint64(0), true
	if s.blocks != nil {
		slack := cacheSlack.Milliseconds()
		blocks, divisible = s.blocks.Version(queryTenant(ctx), mint-lookbackDelta.Milliseconds()-slack, maxt+slack)
	}
	h := xxhash.New()
	ms := s.memberships()
	for _, m := range ms.Members {
		fmt.Fprintln(h, m.Name, m.Generation, m.Replaced, m.Refilled, m.Lacks != "")
	}
	for _, g := range ms.Gone {
		fmt.Fprintln(h, g.Name, g.Generation)
	}
	for _, l := range s.store.Losses() {
		fmt.Fprintln(h, l.ID)
	}
	return fmt.Sprintf("%x %x", blocks, h.Sum64()), divisible
}

type scopeKey struct{}

// queryScope is the scope that withScope put into the context. Whoever asks without one is left to the engine.
func queryScope(ctx context.Context) (cache.Scope, bool) {
	scope, ok := ctx.Value(scopeKey{}).(cache.Scope)
	return scope, ok
}

// withScope puts into ctx what the parameters of a request, all checked by now, make different about the answer. Requests with
// Cache-Control: no-store, and those that ask how it came about, are not to be answered from the cache.
func withScope(ctx context.Context, r *http.Request, tenant string, downsampled bool) context.Context {
	if cache.NoStore(r.Header) || r.FormValue("stats") != "" || r.FormValue("explain") != "" {
		return cache.WithBypass(ctx)
	}
	var key strings.Builder
	for _, value := range []string{tenant, r.FormValue("dedup"), r.FormValue("partial_response"), r.FormValue(paramResolution)} {
		fmt.Fprintf(&key, "%q ", value)
	}
	fmt.Fprintf(&key, "%q", r.Form["replicaLabels[]"])
	return context.WithValue(ctx, scopeKey{}, cache.Scope{Key: key.String(), Whole: downsampled})
}
