// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// made returns a block over hours [from, to) at a resolution, with sources by number.
func made(resolution, from, to int64, sources ...byte) Block {
	b := Block{Mint: from * hour, Maxt: to * hour, Resolution: resolution}
	for _, s := range sources {
		b.Sources = append(b.Sources, ulid.ULID{15: s})
	}
	return b
}

func TestCover(t *testing.T) {
	raw1, raw2 := made(Raw, 0, 48, 1, 2), made(Raw, 48, 96, 3)
	five1, five2 := made(FiveMinutes, 0, 48, 1, 2), made(FiveMinutes, 48, 96, 3)
	oneHour := made(OneHour, 0, 96, 1, 2, 3)
	late := made(Raw, 10, 12, 9)
	type pieces [][3]int64 // Block, and hours.
	for name, c := range map[string]struct {
		blocks      []Block
		limit       Limit
		want, empty pieces
	}{
		"raw is wanted":                        {[]Block{raw1, raw2, five1, five2}, Limit{}, pieces{{0, 0, 48}, {1, 48, 90}}, nil},
		"the coarsest allowed":                 {[]Block{raw1, raw2, five1, five2, oneHour}, Limit{Max: OneHour}, pieces{{4, 0, 90}}, nil},
		"and no coarser":                       {[]Block{raw1, raw2, five1, five2, oneHour}, Limit{Max: OneHour - 1}, pieces{{2, 0, 48}, {3, 48, 90}}, nil},
		"finer where it is absent":             {[]Block{raw1, raw2, five1}, Limit{Max: OneHour}, pieces{{2, 0, 48}, {1, 48, 90}}, nil},
		"coarser where nothing else is":        {[]Block{five1, five2, raw2}, Limit{}, pieces{{0, 0, 48}, {2, 48, 90}}, nil},
		"but not if the limit is strict":       {[]Block{five1, five2, raw2}, Limit{Strict: true}, pieces{{2, 48, 90}}, pieces{{0, 0, 48}}},
		"a coarse block cut":                   {[]Block{oneHour, raw2}, Limit{}, pieces{{0, 0, 48}, {1, 48, 90}}, nil},
		"copies are both read":                 {[]Block{raw1, made(Raw, 0, 48, 7), raw2}, Limit{}, pieces{{0, 0, 48}, {1, 0, 48}, {2, 48, 90}}, nil},
		"late blocks set a coarse one aside":   {[]Block{raw1, late, five1}, Limit{Max: FiveMinutes}, pieces{{0, 0, 48}, {1, 10, 12}}, nil},
		"joined to raw samples":                {[]Block{raw1, raw2, five1, five2}, Limit{Max: FiveMinutes, Joined: 91 * hour}, pieces{{2, 0, 48}, {1, 48, 90}}, nil},
		"unless there is nothing in its place": {[]Block{late, five1}, Limit{Max: FiveMinutes}, pieces{{1, 0, 10}, {0, 10, 12}, {1, 12, 48}}, nil},
	} {
		MarkBehind(c.blocks)
		got, left := Cover(c.blocks, 0, 90*hour-1, c.limit)
		hours := func(all []Piece) (in pieces) {
			for _, p := range all {
				require.Zero(t, (p.Maxt+1)%hour)
				in = append(in, [3]int64{int64(p.Block), p.Mint / hour, (p.Maxt + 1) / hour})
			}
			return in
		}
		require.Equal(t, c.want, hours(got), name)
		require.Equal(t, c.empty, hours(left), name)
	}
}

// TestCoverLeavesNothingOut, over all pairs of a few blocks: each moment that any block is of is answered for, by blocks of one
// resolution, each block once.
func TestCoverLeavesNothingOut(t *testing.T) {
	var all []Block
	for _, r := range []int64{Raw, FiveMinutes, OneHour} {
		for from := int64(0); from < 6; from += 2 {
			for _, length := range []int64{2, 4} {
				all = append(all, made(r, from, from+length, byte(from), byte(length)))
			}
		}
	}
	for set := range 1 << len(all) {
		if set%7 != 0 { // A seventh of 2^18 sets is enough.
			continue
		}
		var blocks []Block
		for i, b := range all {
			if set&(1<<i) != 0 {
				blocks = append(blocks, b)
			}
		}
		MarkBehind(blocks)
		got, _ := Cover(blocks, 0, 10*hour-1, Limit{Max: []int64{Raw, FiveMinutes, OneHour}[set%3]})
		for at := int64(0); at < 10; at++ {
			exists, resolutions, seen := false, map[int64]bool{}, map[int]int{}
			for _, b := range blocks {
				exists = exists || (b.Mint <= at*hour && at*hour < b.Maxt)
			}
			for _, p := range got {
				if p.Mint <= at*hour && at*hour <= p.Maxt {
					resolutions[blocks[p.Block].Resolution] = true
					seen[p.Block]++
				}
			}
			if len(resolutions) > 1 || exists != (len(resolutions) == 1) {
				t.Fatalf("set %d at hour %d: exists %t, resolutions %v", set, at, exists, resolutions)
			}
			for i, n := range seen {
				if n > 1 {
					t.Fatalf("set %d at hour %d: block %d answers %d times", set, at, i, n)
				}
			}
		}
	}
}

func TestReadingFor(t *testing.T) {
	for f, want := range map[string]Reading{
		"": ReadAverage, "rate": ReadCounter, "increase": ReadCounter, "irate": ReadCounter, "resets": ReadCounter,
		"min": ReadMin, "max_over_time": ReadMax, "sum": ReadAverage, "sum_over_time": ReadSum, "count": ReadAverage,
		"count_values": ReadAverage, "count_over_time": ReadCount, "avg_over_time": ReadAverage, "delta": ReadAverage,
	} {
		require.Equal(t, want, ReadingFor(&storage.SelectHints{Func: f, Range: hour}, false), f)
	}
	require.Equal(t, ReadWeighted, ReadingFor(&storage.SelectHints{Func: "avg_over_time", Range: hour}, true))
	require.Equal(t, ReadAverage, ReadingFor(&storage.SelectHints{Func: "sum_over_time"}, true), "of a subquery")
	require.Equal(t, ReadAverage, ReadingFor(nil, true))
}

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"": {}, "auto": {Max: 12 * minute}, "0s": {Strict: true}, "5m": {Max: FiveMinutes, Strict: true},
		"1h": {Max: OneHour, Strict: true}, "300": {Max: FiveMinutes, Strict: true}, "0.5": {Max: 500, Strict: true},
	} {
		got, err := ParseLimit(text, time.Hour)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"-5m", "-1", "five", "NaN", "1e300"} {
		_, err := ParseLimit(text, time.Hour)
		require.Error(t, err, text)
	}
}

func TestLimitOfARange(t *testing.T) {
	l := Limit{Max: OneHour}
	require.Equal(t, OneHour, l.For(nil).Max)
	require.Equal(t, OneHour, l.For(&storage.SelectHints{Func: "rate", Range: 2 * hour}).Max)
	require.Equal(t, 150*second, l.For(&storage.SelectHints{Func: "rate", Range: 5 * minute}).Max)
	require.Equal(t, 5*minute, l.For(&storage.SelectHints{Func: "sum_over_time", Range: 5 * minute}).Max)
	require.Equal(t, time.Hour, l.Lookback(5*time.Minute))
	require.Equal(t, 10*time.Minute, Limit{Max: 40 * minute}.Lookback(10*time.Minute))
	require.Equal(t, time.Minute, Limit{Max: minute}.Lookback(time.Minute))
}

func TestUnion(t *testing.T) {
	got := Union([]Piece{{1, 30, 40}, {2, 0, 10}, {3, 11, 20}, {4, 5, 8}, {5, 35, 50}})
	require.Equal(t, []Piece{{0, 0, 20}, {0, 30, 50}}, got)
	require.Empty(t, Union(nil))
}
