// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// BenchmarkCompaction merges the same blocks with Prometheus' LeveledCompactor on the local disk, with ours on the local disk,
// which also reads back what it made, and with a whole run on a bucket in a directory, which downloads, checks, uploads and
// verifies as well. All in one run, one after the other; ratios are of samples per CPU second, those of the inputs.
func BenchmarkCompaction(b *testing.B) {
	for _, c := range []struct {
		name           string
		ranges, copies int
		gaps           bool
	}{
		{"4 ranges", 4, 1, false},
		{"3 equal copies", 1, 3, false},
		{"3 copies with gaps", 1, 3, true},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkCompaction(b, c.ranges, c.copies, c.gaps) })
	}
}

func benchmarkCompaction(b *testing.B, ranges, copies int, gaps bool) {
	f := newFixture(b)
	f.now = f.now.Add(-100 * time.Hour)
	f.now = time.UnixMilli(f.origin())
	var inputs []input
	var dirs []string
	var samples uint64
	for r := range ranges {
		for c := range copies {
			in := benchmarkBlock(b, f.origin()+int64(r)*2*hour, uint64(c), gaps)
			inputs = append(inputs, in)
			dirs = append(dirs, in.dir)
			samples += in.meta.Stats.NumSamples
		}
	}
	merge := newMerger(querier.NewChunkMerger(prometheus.NewCounter(prometheus.CounterOpts{Name: "conflicts"})), promslog.NewNopLogger())
	theirs, err := tsdb.NewLeveledCompactor(b.Context(), nil, promslog.NewNopLogger(), []int64{1}, nil, nil)
	require.NoError(b, err)
	var cpu [3]time.Duration
	for b.Loop() {
		cpu[0] += cpuOf(b, func(dst string) error {
			_, err := theirs.Compact(dst, dirs, nil)
			return err
		})
		cpu[1] += cpuOf(b, func(dst string) error {
			_, _, err := merge.merge(b.Context(), dst, 0, inputs)
			return err
		})
		cpu[2] += benchmarkRun(b, f, inputs)
	}
	rate := func(d time.Duration) float64 { return float64(samples) * float64(b.N) / d.Seconds() }
	b.ReportMetric(rate(cpu[0])/1e6, "Msamples/cpu-s-prometheus")
	b.ReportMetric(rate(cpu[1])/1e6, "Msamples/cpu-s-merge")
	b.ReportMetric(rate(cpu[2])/1e6, "Msamples/cpu-s-run")
	b.ReportMetric(rate(cpu[1])/rate(cpu[0]), "ratio-merge")
	b.ReportMetric(rate(cpu[2])/rate(cpu[0]), "ratio-run")
}

// benchmarkRun uploads the blocks, which is not counted, and lets a Compactor work.
func benchmarkRun(b *testing.B, f *fixture, inputs []input) time.Duration {
	store, err := bucket.NewFilesystem(b.TempDir())
	require.NoError(b, err)
	now := func() time.Time { return f.now }
	blocks := bucket.NewBlocks(store, now)
	for i, in := range inputs {
		require.NoError(b, blocks.PutBlock(b.Context(), in.dir, member(strconv.Itoa(i)), bucket.SourceReceive))
	}
	f.now = f.now.Add(100 * time.Hour)
	defer func() { f.now = f.now.Add(-100 * time.Hour) }()
	return cpuOf(b, func(dst string) error {
		c := f.compactor(func(cfg *Config) {
			cfg.Blocks, cfg.Dir, cfg.MaxInputs = blocks, dst, 100
			cfg.Index = bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Now: now}, nil)
		})
		return c.Once(context.Background())
	})
}

// cpuOf returns the CPU time of the process while do runs, with the collection of its garbage.
func cpuOf(b *testing.B, do func(dst string) error) time.Duration {
	dst, err := os.MkdirTemp(b.TempDir(), "")
	require.NoError(b, err)
	before := cpuTime(b)
	require.NoError(b, do(dst))
	used := cpuTime(b) - before
	require.NoError(b, os.RemoveAll(dst))
	return used
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmarkBlock has 5,000 series of two hours every 15 s, half of them counters. With gaps each copy lacks other samples.
func benchmarkBlock(b *testing.B, start int64, copyOf uint64, gaps bool) input {
	const series, perSeries = 5000, 480
	missing := rand.New(rand.NewPCG(copyOf, 9))
	var all []storage.Series
	for i := range series {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		value := float64(r.IntN(1000))
		var list []chunks.Sample
		for j := range int64(perSeries) {
			if i%2 == 0 {
				value += float64(r.IntN(10))
			} else {
				value = r.NormFloat64() * 10
			}
			if !gaps || missing.IntN(100) > 0 {
				list = append(list, buckettest.Float(start+j*15_000+int64(r.IntN(20)), value))
			}
		}
		all = append(all, storage.NewListSeries(labels.FromStrings("__name__", "m", "instance", "host-"+strconv.Itoa(i%100), "i", strconv.Itoa(i)), list))
	}
	dir, _ := buckettest.WriteBlock(b, b.TempDir(), 24*hour, all...)
	opened, err := tsdb.OpenBlock(nil, dir, nil, nil)
	require.NoError(b, err)
	in := input{dir: dir, meta: opened.Meta()}
	require.NoError(b, opened.Close())
	in.bytes, err = sizeOf(dir)
	require.NoError(b, err)
	require.Equal(b, filepath.Base(dir), ulid.ULID.String(in.meta.ULID))
	return in
}
