// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// benchSeries is a day of a series in chunks, and how many samples they have.
func benchSeries(b *testing.B, kind string) ([]chunks.Meta, int) {
	s := newWorld(1, 2).counter
	if kind == "histograms" {
		s = newHistogramSeries(1, 2, histogram.UnknownCounterReset, 1)
	}
	return s.chunks(b), len(s)
}

// BenchmarkDownsample reports what one sample costs, and how many a core does in a second.
func BenchmarkDownsample(b *testing.B) {
	for _, kind := range []string{"floats", "histograms"} {
		metas, n := benchSeries(b, kind)
		b.Run(kind+"/raw to 5m", func(b *testing.B) {
			w := newWriter(FiveMinutes)
			b.ReportAllocs()
			begin := cpu()
			for b.Loop() {
				if _, err := w.raw(metas); err != nil {
					b.Fatal(err)
				}
			}
			report(b, n, begin)
		})
		finer := at(b, metas, FiveMinutes)
		b.Run(kind+"/5m to 1h", func(b *testing.B) {
			w := newWriter(OneHour)
			b.ReportAllocs()
			begin := cpu()
			for b.Loop() {
				if _, err := w.coarser(finer, FiveMinutes); err != nil {
					b.Fatal(err)
				}
			}
			report(b, n, begin)
		})
	}
}

// BenchmarkRead reports the same of a query's iterator.
func BenchmarkRead(b *testing.B) {
	metas, n := benchSeries(b, "floats")
	whole := []Piece{{Mint: 0, Maxt: 2 * day}}
	for name, parts := range map[string][]Part{
		"raw": {{Chunks: metas, Pieces: whole}},
		"5m":  {{Chunks: at(b, metas, FiveMinutes), Pieces: whole, Resolution: FiveMinutes}},
	} {
		for reading, as := range map[Reading]string{ReadAverage: "average", ReadCounter: "counter", ReadCount: "count"} {
			b.Run(name+"/"+as, func(b *testing.B) {
				b.ReportAllocs()
				begin := cpu()
				for b.Loop() {
					it := seriesOf(lset, reading, parts).Iterator(nil)
					for it.Next() != chunkenc.ValNone {
					}
					if it.Err() != nil {
						b.Fatal(it.Err())
					}
				}
				report(b, n, begin)
			})
		}
	}
}

// cpu is what this process has used so far, with the garbage collector.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report is by raw samples, of which n were read in each loop, and by time of CPUs: the machine may have other things to do.
func report(b *testing.B, n int, begin time.Duration) {
	total, took := float64(n)*float64(b.N), cpu()-begin
	b.ReportMetric(total/took.Seconds(), "samples/cpu-s")
	b.ReportMetric(float64(took.Nanoseconds())/total, "cpu-ns/sample")
}
