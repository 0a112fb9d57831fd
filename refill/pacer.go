// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"time"
)

// paceMin is the shortest sleep worth a timer.
const paceMin = 10 * time.Millisecond

// pacer keeps a flow of bytes below a rate, on average. Not safe for concurrent use.
type pacer struct {
	rate int64     // Bytes per second; negative: no bound.
	free time.Time // When what was spent so far is paid for.
}

// spend accounts for n bytes and sleeps when that is too much too soon. Time in
// which nothing was spent is not saved up.
func (p *pacer) spend(ctx context.Context, n int64) {
	if p.rate < 0 {
		return
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	if ahead := p.free.Sub(now); ahead > paceMin {
		wait(ctx, ahead)
	}
}
