// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// BenchmarkMerge reads a series of 2,880 samples (12 h every 15 s) from three copies; an operation is one series.
// "one" is a single copy read by Prometheus' own chain of chunks, to compare with.
func BenchmarkMerge(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	samples := floats(0, 2879*15_000, 15_000, func(int64) float64 { return rnd.Float64() })
	every := func(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }
	one := copyOf(b, samples, every(120))
	cases := map[string][]storage.ChunkSeries{
		"identical": {one, copyOf(b, samples, every(120)), copyOf(b, samples, every(120))},
		// What heads are like: all but the chunk being written is the same.
		"last chunk differs": {one, copyOf(b, samples[:len(samples)-1], every(120)), copyOf(b, samples, every(120))},
		"all chunks differ":  {one, copyOf(b, samples, every(110)), copyOf(b, samples, every(100))},
		"holes":              withHoles(b, rnd, samples, 3),
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		var it chunkenc.Iterator
		for b.Loop() {
			set := storage.NewSeriesSetFromChunkSeriesSet(&bufferedSet{series: []bufferedSeries{*one.(*bufferedSeries)}, next: -1})
			set.Next()
			it = set.At().Iterator(it)
			consume(b, it, len(samples))
		}
	})
	for _, name := range []string{"identical", "last chunk differs", "all chunks differ", "holes"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s, _ := merged(cases[name], everything())
			var it chunkenc.Iterator
			for b.Loop() {
				it = s.samples(it)
				consume(b, it, len(samples))
			}
		})
	}
}

func consume(b *testing.B, it chunkenc.Iterator, want int) {
	n := 0
	sum := 0.0
	for it.Next() != chunkenc.ValNone {
		_, v := it.At()
		sum += v
		n++
	}
	if n != want || math.IsNaN(sum) {
		b.Fatalf("%d samples, want %d", n, want)
	}
}

// BenchmarkCopySet merges the labels of three sorted sets of 1,000 series each; an operation is all of them.
func BenchmarkCopySet(b *testing.B) {
	const n = 1000
	builder := labels.NewScratchBuilder(8)
	var set bufferedSet
	for i := range n {
		builder.Reset()
		for _, name := range []string{"__name__", "cluster", "instance", "job", "namespace", "pod", "region"} {
			builder.Add(name, name+"-value")
		}
		builder.Add("z", string(rune('0'+i/100))+string(rune('0'+i/10%10))+string(rune('0'+i%10)))
		set.series = append(set.series, bufferedSeries{lset: builder.Labels()})
	}
	env := &mergeEnv{trim: everything(), conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})}
	b.ReportAllocs()
	for b.Loop() {
		sets := make([]storage.ChunkSeriesSet, 3)
		for i := range sets {
			sets[i] = &bufferedSet{series: set.series, next: -1}
		}
		merged := newCopySet(sets, env, 0)
		count := 0
		for merged.Next() {
			count++
		}
		if count != n {
			b.Fatal(count)
		}
	}
}

// BenchmarkFanout queries 1,000 series of 240 samples on three members, two of them over HTTP on loopback; an operation is one select.
func BenchmarkFanout(b *testing.B) {
	c := newCluster(b, 3, 3)
	for i := range 1000 {
		l := labels.FromStrings("__name__", "m", "instance", string(rune('a'+i/100))+string(rune('a'+i/10%10))+string(rune('a'+i%10)), "job", "node")
		for _, s := range c.stores {
			s.write(b, l, floats(0, 239*15_000, 15_000, func(j int64) float64 { return float64(i) * float64(j) })...)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		q, err := c.Querier.Querier(0, math.MaxInt64)
		if err != nil {
			b.Fatal(err)
		}
		set := q.Select(tenantCtx(), true, nil, named("m"))
		var it chunkenc.Iterator
		n := 0
		for set.Next() {
			it = set.At().Iterator(it)
			consume(b, it, 240)
			n++
		}
		if n != 1000 || set.Err() != nil {
			b.Fatal(n, set.Err())
		}
		if err := q.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
