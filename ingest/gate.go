// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "sync/atomic"

// gate bounds the bytes that are under way in one direction. It never waits: who
// does not get through is told so at once, and tries again or leaves a hint.
type gate struct {
	limit int64
	used  atomic.Int64
}

// enter reserves n bytes. One request is let through however large it is when
// nothing else is under way, so that a limit below the largest body stalls nobody.
func (g *gate) enter(n int) bool { return g.reserve(g.limit, int64(n), 0) }

// reserve reserves n bytes for a request that holds some already, below a limit that
// may be another one each time.
func (g *gate) reserve(limit, n, held int64) bool {
	if used := g.used.Add(n); used > limit && used != n+held {
		g.used.Add(-n)
		return false
	}
	return true
}

func (g *gate) leave(n int) { g.used.Add(-int64(n)) }
