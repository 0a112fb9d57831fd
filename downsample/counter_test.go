// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// counterOf reads one counter out of parts.
func counterOf(t *testing.T, parts ...Part) series {
	t.Helper()
	return read(t, seriesOf(lset, ReadCounter, parts).Iterator(nil))
}

func part(t *testing.T, s series, resolution, mint, maxt int64) Part {
	t.Helper()
	return Part{Chunks: at(t, s.chunks(t), resolution), Resolution: resolution, Pieces: []Piece{{Mint: mint, Maxt: maxt}}}
}

func TestCounterOverBorders(t *testing.T) {
	before := series{{t: 10 * second, v: 10}, {t: 4 * minute, v: 14}, {t: 8 * minute, v: 4}, {t: 9 * minute, v: 8}} // A reset.
	after := series{{t: 10*minute + second, v: 11}, {t: 12 * minute, v: 20}}
	fell := series{{t: 10*minute + second, v: 5}, {t: 12 * minute, v: 20}}
	end := 20 * minute

	// The first sample of all, and two windows, of which the second is cut to the last sample.
	require.Equal(t, series{{t: 10 * second, v: -4}, {t: 5*minute - 1, v: 0}, {t: 9 * minute, v: 8}},
		counterOf(t, part(t, before, FiveMinutes, 0, end)), "shifted to end at 8, which was shown")

	joined := counterOf(t, part(t, before, FiveMinutes, 0, 10*minute-1), part(t, after, FiveMinutes, 10*minute, end))
	require.Equal(t, series{
		{t: 10 * second, v: -4}, {t: 5*minute - 1, v: 0}, {t: 9 * minute, v: 8}, {t: 10*minute + second, v: 11}, {t: 12 * minute, v: 20},
	}, joined, "from 8 to 11 are 3")

	joined = counterOf(t, part(t, before, FiveMinutes, 0, 10*minute-1), part(t, fell, FiveMinutes, 10*minute, end))
	require.Equal(t, series{
		{t: 10 * second, v: -12}, {t: 5*minute - 1, v: -8}, {t: 9 * minute, v: 0}, {t: 10*minute + second, v: 5}, {t: 12 * minute, v: 20},
	}, joined, "from 8 to 5 is a reset, which is 5")

	// Raw samples behind downsampled ones are as they are, and so is what was shown before.
	joined = counterOf(t, part(t, before, FiveMinutes, 0, 10*minute-1), part(t, fell, Raw, 10*minute, end))
	require.Equal(t, series{
		{t: 10 * second, v: -4}, {t: 5*minute - 1, v: 0}, {t: 9 * minute, v: 8}, {t: 10*minute + second, v: 5}, {t: 12 * minute, v: 20},
	}, joined)
	// Those before them are made to rise as they do.
	joined = counterOf(t, part(t, before, Raw, 0, 10*minute-1), part(t, after, FiveMinutes, 10*minute, end))
	require.Equal(t, series{
		{t: 10 * second, v: -4},
		{t: 4 * minute, v: 0},
		{t: 8 * minute, v: 4},
		{t: 9 * minute, v: 8},
		{t: 10*minute + second, v: 11},
		{t: 12 * minute, v: 20},
	}, joined)
}

// TestCounterEntersAChunk in the middle: raw blocks answer for its beginning.
func TestCounterEntersAChunk(t *testing.T) {
	all := series{{t: minute, v: 100}, {t: 6 * minute, v: 130}, {t: 8 * minute, v: 7}, {t: 12 * minute, v: 17}, {t: 17 * minute, v: 20}}
	border := 10 * minute
	joined := counterOf(t, part(t, all.between(0, border), Raw, 0, border-1), part(t, all, FiveMinutes, border, 20*minute))
	require.Equal(t, []float64{30, 7, 10, 3}, steps(joined), "with the reset from 130 to 7")
	require.EqualValues(t, 20, joined[len(joined)-1].v)

	// And leaves one: the downsampled chunk is read to its end, and raw samples of that time are not.
	joined = counterOf(t, part(t, all, FiveMinutes, 0, border-1), part(t, all.between(border, hour), Raw, border, 20*minute))
	require.Equal(t, 50.0, sum(steps(joined)))
	require.EqualValues(t, 20, joined[len(joined)-1].v)
}

// TestCountEntersAChunk: what is before the piece is left out, and a window that the piece cuts keeps all its samples.
func TestCountEntersAChunk(t *testing.T) {
	var all series
	for at := int64(1000); at < 2*hour; at += 30 * second {
		all = append(all, sample{t: at, v: 1})
	}
	for border, want := range map[int64]int{0: 240, hour: 120, hour + 2*minute: 120} {
		got := read(t, NewSeries(lset, ReadCount, func() ([]Part, error) {
			return []Part{part(t, all, FiveMinutes, border, 2*hour)}, nil
		}).Iterator(nil))
		require.Len(t, got, want)
		require.GreaterOrEqual(t, got[0].t, border)
	}
}

// TestCounterOfCopies: chunks of the same time count once, also where one lacks a part.
func TestCounterOfCopies(t *testing.T) {
	w := newWorld(5, 3)
	whole := w.counter
	holed := append(append(series{}, whole.between(0, 10*hour)...), whole.between(20*hour, w.end)...)
	got := counterOf(t, part(t, whole, FiveMinutes, 0, w.end), part(t, holed, FiveMinutes, 0, w.end))
	require.InEpsilon(t, sum(steps(counterOf(t, part(t, whole, FiveMinutes, 0, w.end)))), sum(steps(got)), 0.01)
	for _, step := range steps(got) {
		require.GreaterOrEqual(t, step, 0.0)
	}

	// Of aggregates either copy's windows are taken.
	want := read(t, seriesOf(lset, ReadSum, []Part{part(t, whole, FiveMinutes, 0, w.end)}).Iterator(nil))
	got = read(t, seriesOf(lset, ReadSum, []Part{part(t, whole, FiveMinutes, 0, w.end), part(t, holed, FiveMinutes, 0, w.end)}).Iterator(nil))
	require.Len(t, got, len(want))
	got = read(t, seriesOf(lset, ReadSum, []Part{part(t, holed, FiveMinutes, 0, w.end), part(t, whole, FiveMinutes, 0, w.end)}).Iterator(nil))
	require.Len(t, got, len(want), "the hole is filled")
}

func steps(s series) []float64 {
	var all []float64
	for i := 1; i < len(s); i++ {
		all = append(all, s[i].v-s[i-1].v)
	}
	return all
}

func sum(all []float64) float64 {
	total := 0.0
	for _, v := range all {
		total += v
	}
	return total
}

// TestLookback: with the lookback of its resolution a series is there at each moment of its time.
func TestLookback(t *testing.T) {
	var s series
	for at := 15 * second; at < 4*day; at += 15 * second {
		s = append(s, sample{t: at, v: float64(at)})
	}
	for _, resolution := range []int64{FiveMinutes, OneHour} {
		engine := newEngine(Limit{Max: resolution}.Lookback(5 * time.Minute))
		down := fixed{lset, s.parts(t, resolution, 2*day)}
		for at := 2 * hour; at < 4*day; at += hour {
			_, ok := ask(t, engine, down, "x", at)
			require.True(t, ok, "at %d", at)
		}
	}
}

// TestSpread: where samples are coarser than was asked for, they are there at each moment all the same.
func TestSpread(t *testing.T) {
	w := newWorld(6, 4)
	parts := w.gauge.parts(t, OneHour, 2*day)
	for i := range parts {
		parts[i].Spread = true
	}
	engine := newEngine(5 * time.Minute)
	raw := fixed{lset, w.gauge.parts(t, Raw, 2*hour)}
	for at := 3 * hour; at < 4*day; at += 47 * minute {
		whole, ok := ask(t, engine, raw, "count_over_time(x[1h])", at)
		if _, there := ask(t, engine, raw, "x", at); !there || !ok || whole < 60 {
			continue
		}
		_, ok = ask(t, engine, fixed{lset, parts}, "x", at)
		require.True(t, ok, "at %d", at)
	}
	for _, x := range read(t, seriesOf(lset, ReadAverage, parts).Iterator(nil)) {
		require.GreaterOrEqual(t, x.t, int64(0))
	}
}

// TestIterator keeps to what chunkenc says of one.
func TestIterator(t *testing.T) {
	s := newWorld(4, 1).gauge
	it := seriesOf(lset, ReadAverage, []Part{part(t, s, FiveMinutes, 0, day)}).Iterator(nil)
	require.Equal(t, chunkenc.ValFloat, it.Seek(hour))
	first := it.AtT()
	require.GreaterOrEqual(t, first, hour)
	require.Equal(t, chunkenc.ValFloat, it.Seek(0), "it does not go back")
	require.Equal(t, first, it.AtT())
	require.Equal(t, chunkenc.ValFloat, it.Next())
	require.Greater(t, it.AtT(), first)
	require.Equal(t, chunkenc.ValNone, it.Seek(2*day))
	require.Equal(t, chunkenc.ValNone, it.Next())
	require.NoError(t, it.Err())

	damaged := Part{Chunks: at(t, s.chunks(t), FiveMinutes), Resolution: FiveMinutes, Pieces: []Piece{{Maxt: day}}}
	damaged.Chunks[0].Chunk = NewChunk([]byte{9})
	it = seriesOf(lset, ReadAverage, []Part{damaged}).Iterator(nil)
	require.Equal(t, chunkenc.ValNone, it.Next())
	require.ErrorIs(t, it.Err(), ErrDamaged)
	require.ErrorContains(t, it.Err(), "x")
}
