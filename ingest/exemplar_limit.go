// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "fmt"

// limitExemplars refuses the exemplars of a request that are beyond its limit, in the
// order in which they came. Nothing else of it is refused for them.
func (b *Batch) limitExemplars() {
	left := b.limits.ExemplarsPerRequest
	if b.received.Exemplars <= left {
		return
	}
	why := &refusal{ReasonExemplarCount, fmt.Sprintf("request has %d exemplars, limit %d %s",
		b.received.Exemplars, left, raise(LimitRequestExemplars))}
	for i := range b.series {
		s := &b.series[i]
		n := b.counts(s).Exemplars
		if s.refused || n == 0 {
			continue
		}
		keep := min(n, left)
		left -= keep
		if keep == n {
			continue
		}
		b.extras[s.extra-1].exemplars.n = uint32(keep)
		s.message = span{} // It has other items now.
		b.refuseItems(i, Counts{Exemplars: n - keep}, why)
		s.refused = b.counts(s).total() == 0
	}
}
