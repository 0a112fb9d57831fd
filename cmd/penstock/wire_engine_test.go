// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

// TestUntrimmedEngine: all of Prometheus' own tests hold where storage shows whole chunks.
func TestUntrimmedEngine(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(t, untrimmed{engine}, func(t testing.TB) storage.Storage {
		return teststorage.New(t, func(opt *tsdb.Options) { // As the suite's own storage is.
			opt.EnableSTStorage = true
			opt.FloatChunkEncoding = chunkenc.EncXOR2
			opt.EnableHistogramSTEncoding = true
			opt.StripeSize = 512
		})
	})
}
