// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
)

// headerAcceptsFrom is in an answer: from which time on, in milliseconds, the member took samples of the tenant when it began to
// read. Members of the first versions do not say it, and count as taking any.
const headerAcceptsFrom = "X-Penstock-Accepts-From"

// AcceptsFrom returns the earliest time, in milliseconds, of a sample of a tenant that the local store would take now; math.MinInt64 if
// any would. Once it has told so, nothing older comes.
type AcceptsFrom func(tenant string) int64

// of returns what f does; nobody knows if it is nil.
func (f AcceptsFrom) of(tenant string) int64 {
	if f == nil {
		return math.MinInt64
	}
	return f(tenant)
}

type watchKey struct{}

// Watch returns a context for questions, and what tells after they were answered from which time on, in milliseconds, a sample may have
// been taken since that is not in the answers. What is older can be kept: a sample is acknowledged by so many of its owners that one
// of them is among those who answered, and all of these refuse it.
func Watch(ctx context.Context) (watched context.Context, from func() int64) {
	least := &atomic.Int64{}
	least.Store(math.MaxInt64)
	return context.WithValue(ctx, watchKey{}, least), least.Load
}

// accepted notes from when on somebody who was asked takes samples.
func accepted(ctx context.Context, from int64) {
	least, ok := ctx.Value(watchKey{}).(*atomic.Int64)
	if !ok {
		return
	}
	for {
		was := least.Load()
		if was <= from || least.CompareAndSwap(was, from) {
			return
		}
	}
}

// parseAccepts reads the header.
func parseAccepts(h http.Header) int64 {
	from, err := strconv.ParseInt(h.Get(headerAcceptsFrom), 10, 64)
	if err != nil {
		return math.MinInt64
	}
	return from
}
