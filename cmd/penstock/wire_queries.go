// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"time"

	"github.com/penstock-io/penstock/querier/limit"
)

// wireQueries opens the books of queries: who asks what, what it takes, and when it is too much.
func (s *server) wireQueries() error {
	s.queries = limit.New(limit.Config{
		LimitsOf:       s.queryLimits,
		Parser:         newParser(),
		Tenant:         s.requestTenant,
		MaxConcurrency: s.cfg.query.limits.concurrency,
		QueueWait:      time.Duration(s.cfg.query.limits.queueWait),
		SlowThreshold:  time.Duration(s.cfg.query.limits.slow),
		MemoryLimit:    s.memoryLimit(),
		Memory: func() limit.Usage {
			used, most := s.memory.Usage()
			return limit.Usage{Bytes: used.Bytes, Limit: most, Collections: used.Collections}
		},
		Fresh: s.withSpending,
	}, s.logger.With("component", "queries"), s.reg)
	return nil
}

// withSpending returns a context whose query has read nothing of the bucket yet.
func (s *server) withSpending(ctx context.Context) context.Context {
	if s.blocks == nil {
		return ctx
	}
	return s.blocks.WithSpending(ctx, limit.From(ctx).Spent)
}

// memoryLimit is that of the process; 0 is none.
func (s *server) memoryLimit() int64 {
	_, most := s.memory.Usage()
	return most
}

// queryLimits are the limits of the read path.
func (s *server) queryLimits(tenant string) limit.Limits {
	return s.limits.Current().Of(tenant).Query(s.cfg.query.queryLimits())
}

// reserving keeps a core for the writes that next takes.
func (s *server) reserving(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.queries.Writing()()
		next.ServeHTTP(w, r)
	})
}
