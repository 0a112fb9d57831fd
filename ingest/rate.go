// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	// burstSeconds of the rate is the burst where none is set: what a sender has
	// collected while it restarted, or between two scrapes.
	burstSeconds = 10
	// Retry-After of a 429, in seconds: long enough to mean something to a sender that
	// is over its rate for good, short enough for one that is so once.
	rateRetryMin, rateRetryMax = 1, 30
)

// rateBucket is a token bucket; a token is a sample. Rate and burst come with each
// call, so that they can change at any time. Safe for concurrent use.
type rateBucket struct {
	mu     sync.Mutex
	tokens float64
	last   time.Time // of the last refill; zero is a bucket that was never used, and full
}

// burst is the size of the bucket.
func (l *Limits) burst() float64 {
	if l.BurstSamples > 0 {
		return float64(l.BurstSamples)
	}
	return max(1, burstSeconds*l.SamplesPerSecond)
}

// take takes n tokens, or takes none and returns how long it would have to wait. A
// request that is larger than the bucket could never be let through; it is once the
// bucket is full, which then owes tokens: the rate holds on average.
func (b *rateBucket) take(now time.Time, n int, l *Limits) (wait time.Duration, ok bool) {
	burst := l.burst()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() {
		b.tokens = burst
	} else if since := now.Sub(b.last); since > 0 {
		b.tokens += since.Seconds() * l.SamplesPerSecond
	}
	b.tokens, b.last = min(b.tokens, burst), now
	if missing := min(float64(n), burst) - b.tokens; missing > 0 {
		return time.Duration(min(missing/l.SamplesPerSecond, rateRetryMax) * float64(time.Second)), false
	}
	b.tokens -= float64(n)
	return 0, true
}

// giveBack returns the tokens of a request that its sender was told to send again.
func (b *rateBucket) giveBack(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens += float64(n)
}

// rateError refuses a request for the rate of its tenant. The wait is stretched by up
// to a half, so that a tenant's senders do not come back together.
func rateError(tenant string, n int, wait time.Duration, l *Limits) error {
	after := wait.Seconds() * (1 + rand.Float64()/2)
	return &limitError{
		limit:      LimitRate,
		status:     http.StatusTooManyRequests,
		retryAfter: int(min(max(math.Ceil(after), rateRetryMin), rateRetryMax)),
		text: fmt.Sprintf("ingestion rate limit of tenant %q on this node exceeded by a request of %d samples: %.10g samples/s, burst %.10g",
			tenant, n, l.SamplesPerSecond, l.burst()),
	}
}
