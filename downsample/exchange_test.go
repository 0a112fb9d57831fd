// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/stretchr/testify/require"
)

// The module in interop, which has Thanos, and this one meet in the blocks of a directory.
var (
	exchangeDir  = flag.String("exchange.dir", "", "directory of the blocks that are exchanged with Thanos")
	exchangeStep = flag.String("exchange.step", "", "write blocks, or read what Thanos made of them")
)

const (
	exchangeSeed = uint64(11)
	exchangeDays = 14
)

func exchangeSeries() map[string]series {
	all := map[string]series{
		"histogram":        newHistogramSeries(exchangeSeed, exchangeDays, histogram.UnknownCounterReset, 0),
		"histogram_gauge":  newHistogramSeries(exchangeSeed, exchangeDays, histogram.GaugeType, 0),
		"histogram_resets": newHistogramSeries(exchangeSeed, exchangeDays, histogram.UnknownCounterReset, 2),
	}
	for i, name := range []string{"a", "b", "c"} {
		w := newWorld(exchangeSeed+uint64(i), exchangeDays)
		all["counter_"+name], all["gauge_"+name] = w.counter, w.gauge
	}
	return all
}

// TestExchange does nothing unless it is told to.
func TestExchange(t *testing.T) {
	switch *exchangeStep {
	case "write":
		exchangeWrite(t)
	case "read":
		exchangeRead(t)
	default:
		t.Skip("run by the tests of interop")
	}
}

// exchangeWrite writes <dir>/{raw,ours/5m,ours/1h}/<ULID>.
func exchangeWrite(t *testing.T) {
	dir := func(name string) string {
		d := filepath.Join(*exchangeDir, name)
		require.NoError(t, os.MkdirAll(d, dirMode))
		return d
	}
	src := newBlock(t, dir("raw"), exchangeSeries())
	d := New(nil, nil, nil)
	id, _, err := d.Downsample(t.Context(), src, FiveMinutes, dir("ours/5m"))
	require.NoError(t, err)
	_, _, err = d.Downsample(t.Context(), filepath.Join(dir("ours/5m"), id.String()), OneHour, dir("ours/1h"))
	require.NoError(t, err)
}

// exchangeRead compares what Thanos made of the raw block, in <dir>/theirs, with ours, as queries read them.
func exchangeRead(t *testing.T) {
	blockIn := func(whose, resolution string) map[string][]Part {
		found, err := filepath.Glob(filepath.Join(*exchangeDir, whose, resolution, "*", metaName))
		require.NoError(t, err)
		require.Len(t, found, 1)
		return readBlock(t, filepath.Dir(found[0]))
	}
	for _, resolution := range []string{"5m", "1h"} {
		ours, theirs := blockIn("ours", resolution), blockIn("theirs", resolution)
		require.Len(t, theirs, len(ours))
		for name := range ours {
			if name == "histogram_resets" {
				continue // Theirs has fewer chunks.
			}
			for r := ReadAverage; r <= ReadCounter; r++ {
				want := read(t, seriesOf(lset, r, theirs[name]).Iterator(nil))
				got := read(t, seriesOf(lset, r, ours[name]).Iterator(nil))
				require.NotEmpty(t, got)
				sameSeries(t, want, got, name)
			}
		}
	}
}

// sameSeries allows for sums that were rounded in another order.
func sameSeries(t *testing.T, want, got series, name string) {
	t.Helper()
	near := func(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }
	require.Len(t, got, len(want), name)
	for i := range want {
		w, g := want[i], got[i]
		if w.t != g.t || !near(w.v, g.v) || (w.fh == nil) != (g.fh == nil) {
			t.Fatalf("%s: sample %d is %v, want %v", name, i, g, w)
		}
		if w.fh == nil {
			continue
		}
		a, b := w.fh.Copy().Compact(0), g.fh.Copy().Compact(0)
		if !near(a.Sum, b.Sum) {
			t.Fatalf("%s: sample %d is %v, want %v", name, i, b, a)
		}
		a.Sum, b.Sum = 0, 0
		if !a.Equals(b) {
			t.Fatalf("%s: sample %d is %v, want %v", name, i, b, a)
		}
	}
}
