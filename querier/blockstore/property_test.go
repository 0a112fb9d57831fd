// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

type histogramSample struct {
	sample
	h *histogram.Histogram
}

func (s histogramSample) H() *histogram.Histogram { return s.h }
func (histogramSample) Type() chunkenc.ValueType  { return chunkenc.ValHistogram }
func (s histogramSample) Copy() chunks.Sample     { return s }
func (s histogramSample) F() float64              { return 0 }

// manySeries makes series with labels of few and of many values, some of which lack, floats and histograms.
func manySeries(r *rand.Rand, n int) []series {
	all := make([]series, 0, n)
	for i := range n {
		pairs := []string{
			"__name__", fmt.Sprintf("metric_%d", i%7), "instance", fmt.Sprintf("host-%05d:9100", i/7),
			"long", strings.Repeat("x", 40+i%17),
		}
		if r.IntN(3) > 0 {
			pairs = append(pairs, "job", fmt.Sprintf("job-%d", r.IntN(5)))
		}
		if r.IntN(4) == 0 {
			pairs = append(pairs, "zone", string(rune('a'+r.IntN(3))))
		}
		s := series{labels: labels.FromStrings(pairs...)}
		start, samples := int64(r.IntN(60)), r.IntN(200)+1
		for k := range int64(samples) {
			ts := (start + k) * 15_000
			if i%11 == 0 {
				s.samples = append(s.samples, histogramSample{buckettest.Float(ts, 0), tsdbutil.GenerateTestHistogram(k)})
			} else {
				s.samples = append(s.samples, buckettest.Float(ts, r.Float64()*1000))
			}
		}
		all = append(all, s)
	}
	return all
}

// addLocal is add for many series, and keeps the block beside: the oracle.
func (f *fixture) addLocal(content []series) (ulid.ULID, *tsdb.Block) {
	f.t.Helper()
	var all []storage.Series
	for _, s := range content {
		all = append(all, storage.NewListSeries(s.labels, s.samples))
	}
	dir, id := buckettest.WriteBlock(f.t, f.t.TempDir(), (24 * time.Hour).Milliseconds(), all...)
	require.NoError(f.t, f.blocks.PutBlock(f.t.Context(), dir, ours("t1", "m1"), bucket.SourceReceive))
	local, err := tsdb.OpenBlock(nil, dir, nil, nil)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, local.Close()) })
	return id, local
}

func randomMatchers(r *rand.Rand) []*labels.Matcher {
	names := []string{"__name__", "instance", "job", "zone", "none", "long"}
	values := map[string][]string{
		"__name__": {"metric_1", "metric_6", "metric_.", "metric_1|metric_2", ".+", ".*", "", "nope", "(metric_1|)"},
		"instance": {"host-00001:9100", "host-0000.:9100", "host-.*", "", ".+", "host-00003:9100|host-00017:9100", ".*9100"},
		"job":      {"job-1", "job-1|job-2", "job-[1-3]", "", ".+", ".*", "job-4|"},
		"zone":     {"a", "a|b", "", ".*", ".+", "[bc]"},
		"none":     {"", "x", ".*", ".+"},
		"long":     {".+", "x{40}", "x{41,43}", ""},
	}
	types := []labels.MatchType{labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}
	var ms []*labels.Matcher
	for range r.IntN(3) + 1 {
		name := names[r.IntN(len(names))]
		of := values[name]
		ms = append(ms, labels.MustNewMatcher(types[r.IntN(len(types))], name, of[r.IntN(len(of))]))
	}
	return ms
}

// answer is everything that a querier says, as text.
func answer(ctx context.Context, q storage.Querier, cq storage.ChunkQuerier, hints *storage.SelectHints, ms []*labels.Matcher, label string) (string, error) {
	clone := func() []*labels.Matcher { return append([]*labels.Matcher(nil), ms...) }
	var b strings.Builder
	set := q.Select(ctx, true, hints, clone()...)
	var it chunkenc.Iterator
	for set.Next() {
		fmt.Fprintln(&b, set.At().Labels())
		it = set.At().Iterator(it)
		for t := it.Next(); t != chunkenc.ValNone; t = it.Next() {
			if t == chunkenc.ValFloat {
				fmt.Fprintln(&b, fmtFloat(it.At()))
			} else {
				ts, h := it.AtHistogram(nil)
				fmt.Fprintln(&b, ts, h)
			}
		}
		if it.Err() != nil {
			return "", it.Err()
		}
	}
	if set.Err() != nil {
		return "", set.Err()
	}
	if hints == nil || hints.Func != "series" {
		cs := cq.Select(ctx, true, hints, clone()...)
		for cs.Next() {
			fmt.Fprintln(&b, cs.At().Labels())
			ci := cs.At().Iterator(nil)
			for ci.Next() {
				m := ci.At()
				fmt.Fprintf(&b, "%d %d %x\n", m.MinTime, m.MaxTime, m.Chunk.Bytes())
			}
			if ci.Err() != nil {
				return "", ci.Err()
			}
		}
		if cs.Err() != nil {
			return "", cs.Err()
		}
	}
	for _, with := range [][]*labels.Matcher{nil, clone()} {
		names, _, err := q.LabelNames(ctx, nil, with...)
		if err != nil {
			return "", err
		}
		values, _, err := q.LabelValues(ctx, label, nil, clone()...)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(&b, names, values)
	}
	return b.String(), nil
}

func fmtFloat(t int64, v float64) string { return fmt.Sprint(t, v) }

// compare asks the gateway and the local block one random question. It returns the gateway's error.
func compare(t *testing.T, r *rand.Rand, s *Store, local *tsdb.Block) error {
	t.Helper()
	mint := int64(r.IntN(3600)) * 1000
	maxt := mint + int64(r.IntN(5400))*1000
	var hints *storage.SelectHints
	if r.IntN(3) > 0 {
		hints = &storage.SelectHints{Start: mint, End: maxt, DisableTrimming: r.IntN(2) == 0}
		switch r.IntN(6) {
		case 0:
			hints.Func = "series"
		case 1:
			hints.ShardCount, hints.ShardIndex = 3, uint64(r.IntN(3))
		}
	}
	ms := randomMatchers(r)
	label := []string{"job", "instance", "zone", "none", "__name__"}[r.IntN(5)]

	lq, err := tsdb.NewBlockQuerier(local, mint, maxt)
	require.NoError(t, err)
	lcq, err := tsdb.NewBlockChunkQuerier(local, mint, maxt)
	require.NoError(t, err)
	want, err := answer(t.Context(), lq, lcq, hints, ms, label)
	require.NoError(t, err)
	require.NoError(t, lq.Close())
	require.NoError(t, lcq.Close())

	q, err := s.Querier("t1", mint, maxt)
	require.NoError(t, err)
	cq, err := s.ChunkQuerier("t1", mint, maxt)
	require.NoError(t, err)
	got, err := answer(t.Context(), q, cq, hints, ms, label)
	require.NoError(t, q.Close())
	require.NoError(t, cq.Close())
	if err == nil && mint < local.Meta().MaxTime { // A block that does not overlap is not asked for labels.
		if want != got {
			t.Errorf("matchers %v, hints %+v, label %s: got\n%.2000s\nwant\n%.2000s", ms, hints, label, got, want)
		}
	}
	return err
}

// drivers are the buckets that hold the blocks.
func drivers(t *testing.T) map[string]bucket.Bucket {
	fs, err := bucket.NewFilesystem(t.TempDir())
	require.NoError(t, err)
	return map[string]bucket.Bucket{"memory": bucket.NewMemory(), "filesystem": fs}
}

// TestAnswersEqualThoseOfTheLocalBlock over random questions, with pages that are evicted, requests that fail and answers that
// break off at random. What fails must name the block; what does not fail must be right.
func TestAnswersEqualThoseOfTheLocalBlock(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, driver := range drivers(t) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			f := newFixtureOn(t, driver)
			id, local := f.addLocal(manySeries(r, 800))
			s := f.open(func(c *Config) {
				c.MaxBytes = 1 << 20
				// So that a small block is read as a large one is.
				c.guesses = &guesses{gap: r.IntN(3), wholeIndex: 0, edge: pageBytes, series: int64(1 + r.IntN(200)), chunk: int64(1 + r.IntN(200))}
			})
			var mu sync.Mutex
			trouble := 0.0
			dice := rand.New(rand.NewPCG(seed, 2))
			f.faulty.FailWhen(func(_ int, op, _ string) (buckettest.Fault, bool) {
				mu.Lock()
				defer mu.Unlock()
				fault := []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate}[dice.IntN(3)]
				return fault, op == "get_range" && dice.Float64() < trouble
			})
			failed := 0
			for i := range 60 {
				mu.Lock()
				trouble = []float64{0, 0.05, 0.5}[i%3]
				mu.Unlock()
				if r.IntN(2) == 0 {
					evictRandomly(r, s)
				}
				if err := compare(t, r, s, local); err != nil {
					failed++
					require.ErrorContains(t, err, id.String())
				}
				requireBounded(t, s)
			}
			t.Logf("%d of 60 questions failed", failed)
			set := func(probability float64) {
				mu.Lock()
				defer mu.Unlock()
				trouble = probability
			}
			for _, e := range s.cache.entries {
				s.cache.drop(e)
			}
			set(1)
			require.ErrorContains(t, compare(t, rand.New(rand.NewPCG(1, 1)), s, local), id.String())
			set(0)
			require.NoError(t, compare(t, r, s, local))
		})
	}
}

// TestManyAtOnce asks from several sides while pages are taken away below them and requests fail.
func TestManyAtOnce(t *testing.T) {
	f := newFixture(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	id, local := f.addLocal(manySeries(rand.New(rand.NewPCG(seed, 1)), 400))
	s := f.open(func(c *Config) {
		c.MaxBytes = 40 * pageBytes
		c.guesses = &guesses{edge: pageBytes, series: 100, chunk: 100}
	})
	f.faulty.FailWhen(func(call int, op, _ string) (buckettest.Fault, bool) {
		return buckettest.FailBefore, op == "get_range" && call%50 == 0
	})
	done := make(chan struct{})
	var evictor, askers sync.WaitGroup
	evictor.Go(func() {
		r := rand.New(rand.NewPCG(seed, 2))
		for {
			select {
			case <-done:
				return
			default:
				evictRandomly(r, s)
			}
		}
	})
	for i := range uint64(4) {
		askers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 10+i))
			for range 12 {
				if err := compare(t, r, s, local); err != nil && !strings.Contains(err.Error(), id.String()) {
					t.Errorf("%v does not name the block", err)
				}
			}
		})
	}
	askers.Wait()
	close(done)
	evictor.Wait()
	requireBounded(t, s)
}

// requireBounded sees to it that the books are what is on disk, and both within the bound.
func requireBounded(t *testing.T, s *Store) {
	t.Helper()
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	var pages int
	for _, e := range c.entries {
		inExtents := 0
		for _, x := range e.extents {
			inExtents += x.pages
		}
		require.Equal(t, e.pages, inExtents)
		pages += e.pages
		if e.block != nil && e.refs == 0 {
			kept := 0
			for _, n := range e.block.file.pagesByExtent() {
				kept += n
			}
			require.Equal(t, e.pages, kept)
		}
	}
	require.Equal(t, int64(pages)*pageBytes, c.used)
	require.LessOrEqual(t, c.used, c.cfg.maxBytes)
}

// evictRandomly takes away some of what may be taken away.
func evictRandomly(r *rand.Rand, s *Store) {
	c := s.cache
	c.mu.Lock()
	all, _ := c.candidates()
	var gone []evicted
	for _, x := range all {
		switch {
		case r.IntN(2) > 0 || x.entry.dropped:
		case x.extent < 0:
			gone = append(gone, c.dropLocked(x.entry)...)
		default:
			gone = append(gone, c.evictExtent(x.entry, x.extent))
		}
	}
	c.mu.Unlock()
	c.discard(gone)
}

func newReader(content []byte) io.Reader { return bytes.NewReader(content) }

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(r) }
