// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "testing"

// BenchmarkHandlerLimits is the handler without the storage, with the rate of the
// tenant off and on: neither may show beside the samples.
func BenchmarkHandlerLimits(b *testing.B) {
	for _, on := range []bool{false, true} {
		name := "off"
		if on {
			name = "on"
		}
		b.Run(name, func(b *testing.B) {
			limits := &liveLimits{}
			limits.set(testTenant, func(l *Limits) {
				if on {
					l.SamplesPerSecond, l.BurstSamples = 1e12, 1e12
				}
			})
			h := NewHandler(HandlerConfig{
				Writer: writerFunc(func(*Batch) Outcome { return Outcome{} }),
				Tenant: tenantOf, LimitsOf: limits.of, Cache: NewSeriesCache(CacheConfig{}, nil),
			}, quietLogger(), nil)
			benchmarkHandler(b, h, newBenchLoad(b, false))
		})
	}
}
