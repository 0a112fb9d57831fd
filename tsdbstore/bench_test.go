// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// BenchmarkCommit compares a commit by reference through the store with the same
// on the bare TSDB: the difference is what the guard of acknowledgements costs.
func BenchmarkCommit(b *testing.B) {
	for _, batch := range []int{10, 2000} {
		b.Run(fmt.Sprintf("store/batch=%d", batch), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), Retention: -1}, testLogger(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if err := s.Replay(b.Context()); err != nil {
				b.Fatal(err)
			}
			benchCommits(b, batch, func() (storage.AppenderV2, error) { return s.AppenderV2(context.Background(), "a") })
		})
		b.Run(fmt.Sprintf("bare/batch=%d", batch), func(b *testing.B) {
			t := &tenant{store: &Store{cfg: Config{BlockDuration: DefaultBlockDuration, OutOfOrderWindow: DefaultOutOfOrderWindow}}, dir: b.TempDir()}
			opts := t.tsdbOptions()
			opts.BlocksToDelete = nil
			db, err := tsdb.Open(t.dir, quiet(testLogger()), nil, opts, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			benchCommits(b, batch, func() (storage.AppenderV2, error) { return db.AppenderV2(context.Background()), nil })
		})
	}
}

func benchCommits(b *testing.B, batch int, appender func() (storage.AppenderV2, error)) {
	b.ReportAllocs()
	refs := make([]storage.SeriesRef, batch)
	sets := make([]labels.Labels, batch)
	for i := range sets {
		sets[i] = labels.FromStrings(model.MetricNameLabel, "bench", "instance", fmt.Sprint(i))
	}
	ts := baseBenchTime
	for b.Loop() {
		app, err := appender()
		if err != nil {
			b.Fatal(err)
		}
		ts += 100
		for i := range refs {
			if refs[i], err = app.Append(refs[i], sets[i], 0, ts, float64(ts), nil, nil, storage.AOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/sample")
}

const baseBenchTime = int64(1_700_000_000_000)
