// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log" //nolint:depguard // Thanos takes no other logger.
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/thanos-io/thanos/pkg/block"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact/downsample"
)

// penstock runs a step of TestExchange in the module of Penstock.
func penstock(t *testing.T, dir, step string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "./downsample", "-count=1", "-run", "^TestExchange$",
		"-args", "-exchange.dir="+dir, "-exchange.step="+step)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", step, err, out)
	}
}

// only returns the only block in a directory.
func only(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", block.MetaFilename))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", dir, found, err)
	}
	return filepath.Dir(found[0])
}

// thanos downsamples a block as Thanos' compactor does it.
func thanos(t *testing.T, src, dst string, resolution int64) string {
	t.Helper()
	meta, err := metadata.ReadFromDir(src)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tsdb.OpenBlock(nil, src, downsample.NewPool(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id, err := downsample.Downsample(t.Context(), log.NewNopLogger(), meta, b, dst, resolution)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dst, id.String())
}

// load returns the chunks of all series of a block by metric name, after Thanos found nothing wrong with its index.
func load(t *testing.T, dir string, resolution int64) map[string][]chunks.Meta {
	t.Helper()
	meta, err := metadata.ReadFromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Thanos.Downsample.Resolution != resolution || meta.Thanos.Source != metadata.CompactorSource || meta.Thanos.Labels["tenant_id"] != "t1" {
		t.Fatalf("%s: Thanos reads the meta as %+v", dir, meta.Thanos)
	}
	stats, err := block.GatherIndexHealthStats(t.Context(), log.NewNopLogger(), filepath.Join(dir, block.IndexFilename), meta.MinTime, meta.MaxTime)
	if err := errors.Join(err, stats.AnyErr()); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	b, err := tsdb.OpenBlock(nil, dir, downsample.NewPool(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	ir, err := b.Index()
	if err != nil {
		t.Fatal(err)
	}
	defer ir.Close()
	cr, err := b.Chunks()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cr.Close() })
	name, value := index.AllPostingsKey()
	postings, err := ir.Postings(context.Background(), name, value)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]chunks.Meta{}
	for postings.Next() {
		var builder labels.ScratchBuilder
		var metas []chunks.Meta
		if err := ir.Series(postings.At(), &builder, &metas); err != nil {
			t.Fatal(err)
		}
		for i := range metas {
			if metas[i].Chunk, _, err = cr.ChunkOrIterable(metas[i]); err != nil {
				t.Fatal(err)
			}
		}
		all[builder.Labels().Get("__name__")] = metas
	}
	if err := postings.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%s: %d series, %v", dir, len(all), err)
	}
	return all
}

type sample struct {
	t  int64
	v  float64
	fh *histogram.FloatHistogram
}

// expand returns the samples of one aggregate, by Thanos' decoder.
func expand(t *testing.T, metas []chunks.Meta, a downsample.AggrType) []sample {
	t.Helper()
	var all []sample
	for _, m := range metas {
		c, err := m.Chunk.(*downsample.AggrChunk).Get(a)
		if errors.Is(err, downsample.ErrAggrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		it := c.Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			var s sample
			if vt == chunkenc.ValFloat {
				s.t, s.v = it.At()
			} else {
				s.t, s.fh = it.AtFloatHistogram(nil)
				s.fh = s.fh.Copy().Compact(0)
			}
			all = append(all, s)
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	return all
}

// near allows for sums that were rounded in another order.
func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

func (s sample) equal(o sample) bool {
	if s.t != o.t || !near(s.v, o.v) || (s.fh == nil) != (o.fh == nil) {
		return false
	}
	if s.fh == nil {
		return true
	}
	a, b := *s.fh, *o.fh
	ok := near(a.Sum, b.Sum)
	a.Sum, b.Sum = 0, 0
	return ok && a.CounterResetHint == b.CounterResetHint && a.Equals(&b)
}

var all = []downsample.AggrType{
	downsample.AggrCount, downsample.AggrSum, downsample.AggrMin, downsample.AggrMax, downsample.AggrCounter,
}

// compare wants the same chunks with the same samples, and counts those of the same bytes.
func compare(t *testing.T, what string, ours, theirs map[string][]chunks.Meta) {
	t.Helper()
	if len(ours) != len(theirs) {
		t.Fatalf("%s: %d series, want %d", what, len(ours), len(theirs))
	}
	same, total := 0, 0
	for name, want := range theirs {
		got := ours[name]
		if name == "histogram_resets" {
			// A reset begins a chunk in ours. Nothing is in both windows or in none.
			compareTotals(t, what, got, want)
			continue
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %s has %d chunks, want %d", what, name, len(got), len(want))
		}
		for i := range want {
			if got[i].MinTime != want[i].MinTime || got[i].MaxTime != want[i].MaxTime {
				t.Fatalf("%s: chunk %d of %s is of [%d, %d], want [%d, %d]", what, i, name, got[i].MinTime, got[i].MaxTime, want[i].MinTime, want[i].MaxTime)
			}
			total++
			if bytes.Equal(got[i].Chunk.Bytes(), want[i].Chunk.Bytes()) {
				same++
			} else if strings.HasPrefix(name, "counter") {
				t.Errorf("%s: chunk %d of %s has other bytes", what, i, name) // Whole numbers are not rounded.
			}
		}
		for _, a := range all {
			g, w := expand(t, got, a), expand(t, want, a)
			if len(g) != len(w) {
				t.Fatalf("%s: %s of %s has %d samples, want %d", what, a, name, len(g), len(w))
			}
			for i := range w {
				if !g[i].equal(w[i]) {
					t.Fatalf("%s: sample %d of %s of %s is %+v, want %+v", what, i, a, name, g[i], w[i])
				}
			}
		}
	}
	t.Logf("%s: %d of %d chunks have the same bytes, all the same samples", what, same, total)
}

func compareTotals(t *testing.T, what string, got, want []chunks.Meta) {
	t.Helper()
	total := func(metas []chunks.Meta) (n, observations float64) {
		for _, s := range expand(t, metas, downsample.AggrCount) {
			n += s.v
		}
		for _, s := range expand(t, metas, downsample.AggrSum) {
			observations += s.fh.Count
		}
		return n, observations
	}
	gotN, gotSum := total(got)
	wantN, wantSum := total(want)
	if gotN != wantN || !near(gotSum, wantSum) || len(got) < len(want) {
		t.Fatalf("%s: with resets %g samples of %g observations in %d chunks, want %g, %g and %d at least", what, gotN, gotSum, len(got), wantN, wantSum, len(want))
	}
}

// TestDownsampling: Thanos reads the blocks that Penstock downsampled, finds in them what it makes itself of the same raw
// block, and goes on with them; and the other way round.
func TestDownsampling(t *testing.T) {
	dir := t.TempDir()
	penstock(t, dir, "write")
	ours5m, ours1h := only(t, filepath.Join(dir, "ours", "5m")), only(t, filepath.Join(dir, "ours", "1h"))
	theirs5m := thanos(t, only(t, filepath.Join(dir, "raw")), filepath.Join(dir, "theirs", "5m"), downsample.ResLevel1)
	theirs1h := thanos(t, theirs5m, filepath.Join(dir, "theirs", "1h"), downsample.ResLevel2)
	compare(t, "5m", load(t, ours5m, downsample.ResLevel1), load(t, theirs5m, downsample.ResLevel1))
	compare(t, "1h", load(t, ours1h, downsample.ResLevel2), load(t, theirs1h, downsample.ResLevel2))

	mixed := thanos(t, ours5m, filepath.Join(dir, "mixed"), downsample.ResLevel2)
	compare(t, "1h that Thanos made of our 5m", load(t, mixed, downsample.ResLevel2), load(t, theirs1h, downsample.ResLevel2))

	penstock(t, dir, "read")
}
