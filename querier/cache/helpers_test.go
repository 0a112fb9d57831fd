// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"math"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

func oneScope(context.Context) (Scope, bool) { return Scope{Key: "tenant"}, true }

func always() int64 { return math.MaxInt64 }

func newEngine(t testing.TB, maxSamples int) *promql.Engine {
	return promqltest.NewTestEngine(t, false, 5*time.Minute, maxSamples)
}

func newStorage(t testing.TB) *teststorage.TestStorage {
	return teststorage.New(t, func(opt *tsdb.Options) { // As the storage of Prometheus' own suite is.
		opt.EnableSTStorage = true
		opt.FloatChunkEncoding = chunkenc.EncXOR2
		opt.EnableHistogramSTEncoding = true
		opt.StripeSize = 512
	})
}

// versions counts what changed in a storage.
type versions struct{ n atomic.Int64 }

func (v *versions) version(context.Context, int64, int64) (string, bool) {
	return strconv.FormatInt(v.n.Load(), 10), true
}

// changing is a storage that counts commits.
type changing struct {
	storage.Storage
	versions *versions
}

func (s changing) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return changingAppender{s.Storage.AppenderV2(ctx), s.versions}
}

type changingAppender struct {
	storage.AppenderV2
	versions *versions
}

func (a changingAppender) Commit() error {
	err := a.AppenderV2.Commit()
	a.versions.n.Add(1)
	return err
}

// TestBuiltinSuite runs Prometheus' own PromQL tests over answers that are put together from pieces of a minute, and kept. Each
// evaluation that is repeated, as the suite does with some, may come from the store.
func TestBuiltinSuite(t *testing.T) {
	v := &versions{}
	e := New(Config{
		Engine: newEngine(t, promqltest.DefaultMaxSamplesPerQuery), Parser: parser.NewParser(promqltest.TestParserOpts), MaxBytes: 1 << 20, Scope: oneScope, Settled: always, Version: v.version,
	}, nil)
	e.cutter = cutter{unit: time.Minute, steps: 1, reach: 1}
	promqltest.RunBuiltinTestsWithStorage(t, e, func(t testing.TB) storage.Storage {
		v.n.Add(1)
		return changing{newStorage(t), v}
	})
	for _, result := range []string{resultHit, resultMiss} {
		if n := counted(t, e.metrics.pieces.WithLabelValues(result)); n < 50 {
			t.Errorf("%g pieces were a %s: the suite did not try what it should", n, result)
		}
	}
}
