// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testTime = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// randomRecord draws from few values, so that every kind of tie occurs.
func randomRecord(rng *rand.Rand) Record {
	r := Record{
		Member:   Member{Name: "m", State: State(rng.IntN(4)), Generation: uint64(1 + rng.IntN(2)), Zone: fmt.Sprint(rng.IntN(2))},
		LastSeen: testTime.Add(time.Duration(rng.IntN(3)) * time.Minute),
	}
	if rng.IntN(2) == 0 {
		r.ForgottenAt = testTime.Add(time.Duration(rng.IntN(4)) * time.Minute)
	}
	r.Holes, r.Refilled = rng.IntN(2) == 0, uint64(rng.IntN(2))
	if former := uint64(rng.IntN(3)); former != r.Generation {
		r.Replaced = former
	}
	r.Ended = uint64(rng.IntN(3))
	return r.after(r)
}

// Records travel in any order, any number of times and by any path. All members
// must end with the same one.
func TestNewestIsAMaximum(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		for range 2000 {
			a, b, c := randomRecord(rng), randomRecord(rng), randomRecord(rng)
			require.Equal(t, a, newest(a, a))
			require.Equal(t, newest(a, b), newest(b, a))
			require.Equal(t, newest(newest(a, b), c), newest(a, newest(b, c)))
		}
	})
}

func TestLeftEndsAGeneration(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		for range 500 {
			left, other := randomRecord(rng), randomRecord(rng)
			left.State = Left
			got := newest(left, other)
			if other.Generation <= left.Generation {
				require.Equal(t, Left, got.State)
			} else {
				require.Equal(t, other.Member, got.Member)
				if got.Replaced != 0 {
					require.Greater(t, got.Replaced, left.Generation)
				}
			}
		}
	})
}

// Two members of which each forgets at its own time agree after a push/pull in
// both directions, whatever each of them saw.
func TestPushPullMakesHistoriesAgreeAboutTheDead(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		now := testTime.Add(time.Hour)
		keep := now.Add(-24 * time.Hour)
		random := func(self string) *History {
			var known []Record
			for i := range 6 {
				if r := randomRecord(rng); rng.IntN(3) > 0 {
					r.Name = fmt.Sprintf("m%d", i)
					known = append(known, r)
				}
			}
			return NewHistory(Record{Member: Member{Name: self}, LastSeen: now}, known, 3)
		}
		a, b := random("a"), random("b")
		for _, pair := range [][2]*History{{a, b}, {b, a}} {
			pair[0].Seen(pair[1].records[pair[1].self])
		}
		fromA, fromB := a.Snapshot(now), b.Snapshot(now)
		a.Merge(fromB, keep, now)
		b.Merge(fromA, keep, now)
		require.Equal(t, a.Snapshot(now), b.Snapshot(now))
		require.Equal(t, New(a.ringMembers(), 3).Version(), New(b.ringMembers(), 3).Version())
	})
}

func TestMajority(t *testing.T) {
	f := func(alive, dead, forgotten, left int, want bool) {
		t.Helper()
		h := NewHistory(Record{Member: Member{Name: "self"}}, nil, 3)
		for i := range alive - 1 {
			h.Seen(Record{Member: Member{Name: fmt.Sprint("alive", i)}})
		}
		for i := range dead {
			name := fmt.Sprint("dead", i)
			h.records[name] = Record{Member: Member{Name: name}}
		}
		for i := range forgotten {
			name := fmt.Sprint("forgotten", i)
			h.records[name] = Record{Member: Member{Name: name}, ForgottenAt: testTime}
		}
		for i := range left {
			name := fmt.Sprint("left", i)
			h.records[name] = Record{Member: Member{Name: name, State: Left}}
		}
		require.Equal(t, want, h.majority())
	}
	f(1, 0, 0, 0, true)
	f(1, 1, 0, 0, false) // Of two, none may forget the other.
	f(2, 1, 0, 0, true)
	f(1, 2, 0, 0, false)
	f(2, 2, 0, 0, false)
	f(3, 2, 0, 0, true)
	f(1, 0, 5, 0, true)
	f(1, 0, 0, 5, true)
}

func TestMergeIsBounded(t *testing.T) {
	h := NewHistory(Record{Member: Member{Name: "self"}}, nil, 3)
	var flood []Record
	for i := range recordsMax + 10 {
		flood = append(flood, Record{Member: Member{Name: fmt.Sprint("m", i)}, LastSeen: testTime})
	}
	require.Equal(t, 11, h.Merge(flood, time.Time{}, testTime))
	require.Len(t, h.records, recordsMax)
	// What is known can still be updated, and who really is alive is always known.
	flood[0].State = Left
	require.Zero(t, h.Merge(flood[:1], time.Time{}, testTime))
	h.Seen(Record{Member: Member{Name: "real"}})
	require.Equal(t, Left, h.records["m0"].State)
	require.Len(t, h.Snapshot(testTime), recordsMax+1)
	data, err := encodeHistory(sender{}, h.Snapshot(testTime))
	require.NoError(t, err)
	_, err = decodeHistory(data)
	require.NoError(t, err)
}

func TestHistoryOfTheLongestNamesFits(t *testing.T) {
	long := Record{
		Member: Member{
			Zone: strings.Repeat("\x01", zoneBytesMax), Generation: 1<<64 - 1,
			InternalAddr: strings.Repeat("<", addrBytesMax), HTTPAddr: strings.Repeat("<", addrBytesMax),
		},
		LastSeen: testTime, ForgottenAt: testTime,
	}
	var records []Record
	for i := range recordsMax {
		long.Name = fmt.Sprintf("%0*d", memberNameBytesMax, i)
		records = append(records, long)
	}
	data, err := encodeHistory(sender{}, records)
	require.NoError(t, err)
	got, err := decodeHistory(data)
	require.NoError(t, err, "%d bytes", len(data))
	require.Equal(t, records, got.Members)
}

func TestDecodeHistoryRefuses(t *testing.T) {
	f := func(data, want string) {
		t.Helper()
		_, err := decodeHistory([]byte(data))
		require.ErrorContains(t, err, want)
	}
	f(``, "unexpected end")
	f(`{"version":2,"members":[]}`, "version 2 is not 1")
	f(`{"version":1,"members":[{"name":"../x"}]}`, "not usable")
	f(`{"version":1,"members":[{"name":"a","state":"GONE"}]}`, `unknown member state "GONE"`)
	f(`{"version":1,"members":[{"name":"a","zone":"`+strings.Repeat("z", 65)+`"}]}`, "longer than 64")
	f(`{"version":1,"members":[{"name":"a","gossipAddr":"`+strings.Repeat("z", 181)+`"}]}`, "longer than 180")
	f(`{"version":1,"members":[`+strings.Repeat(`{"name":"a"},`, recordsMax)+`{"name":"a"}]}`, "513 members")
	f(strings.Repeat(" ", historyBytesMax+1), "more than")
}

// The sample in testdata is what docs/format/members.md describes.
func TestHistoryFileSample(t *testing.T) {
	records, damage, err := loadHistory("testdata/members.json")
	require.NoError(t, err)
	require.NoError(t, damage)
	require.Len(t, records, 2)
	require.Equal(t, Leaving, records[0].State)
	require.False(t, records[0].forgotten())
	require.Equal(t, "10.0.0.3:7946", records[1].GossipAddr)
	require.True(t, records[1].forgotten())
	require.Zero(t, records[0].Replaced)
	require.Equal(t, uint64(1795089600000000000), records[1].Replaced)
	require.Equal(t, records[1].Replaced, records[1].Refilled)
	require.Equal(t, uint64(1795003200000000000), records[1].Ended)
}

func TestLoadHistorySetsADamagedFileAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), historyFileName)
	records, damage, err := loadHistory(path)
	require.NoError(t, err)
	require.NoError(t, damage)
	require.Empty(t, records)

	require.NoError(t, os.WriteFile(path, []byte(`{"version":1,"mem`), 0o600))
	_, damage, err = loadHistory(path)
	require.NoError(t, err)
	require.ErrorContains(t, damage, "decode member history")
	kept, err := os.ReadFile(path + ".damaged")
	require.NoError(t, err)
	require.Equal(t, `{"version":1,"mem`, string(kept))
	require.NoFileExists(t, path)
}

// TestRestartInTheMinority is of a member that starts again on the smaller side of a
// partition: it has no more time to go on alone than before.
func TestRestartInTheMinority(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	of := func(name string) Record {
		return Record{Member: Member{Name: name, State: Active, Generation: 1}, LastSeen: now}
	}
	known := []Record{of("a"), of("b"), of("c"), of("d"), of("e")}

	require.Zero(t, NewHistory(of("a"), nil, 3).View(now).MinoritySince, "the first of a cluster")

	h := NewHistory(of("a"), known, 3)
	require.Greater(t, now.Sub(h.View(now).MinoritySince), 24*time.Hour, "as if it had never seen a majority")
	h.Seen(of("b"))
	require.Greater(t, now.Sub(h.View(now).MinoritySince), 24*time.Hour, "two of five")
	h.Seen(of("c"))
	require.Zero(t, h.View(now).MinoritySince, "three of five")
	h.Lost("c", now)
	require.Equal(t, now, h.View(now).MinoritySince, "from then on its time counts")
}

// TestNewDiskInTheMinority: a member that knew nobody finds one other, and learns from it of three that are not there. For
// how long they have not been there is not known.
func TestNewDiskInTheMinority(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	of := func(name string) Record {
		return Record{Member: Member{Name: name, State: Active, Generation: 1}, LastSeen: now}
	}
	h := NewHistory(of("a"), nil, 3)
	h.View(now)
	h.Seen(of("b"))
	for _, name := range []string{"c", "d", "e"} {
		h.Seen(of(name))
		h.Lost(name, now)
	}
	require.Greater(t, now.Sub(h.View(now).MinoritySince), 24*time.Hour)
	h.Seen(of("c"))
	require.Zero(t, h.View(now).MinoritySince)
	h.Lost("c", now)
	require.Equal(t, now, h.View(now).MinoritySince, "once it has seen a majority its time counts")

	// Who starts a cluster with others has its time, too.
	h = NewHistory(of("a"), nil, 3)
	for _, name := range []string{"b", "c"} {
		h.Seen(of(name))
		require.Zero(t, h.View(now).MinoritySince)
	}
	h.Lost("b", now)
	h.Lost("c", now)
	require.Equal(t, now, h.View(now).MinoritySince)
}

// TestStandstillInTheMinority: who stands still and then finds the majority gone does not know when it went, and
// has no more time to go on alone than if that was at once.
func TestStandstillInTheMinority(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	stopped, resumed := start.Add(time.Minute), start.Add(time.Hour)
	of := func(name string) Record {
		return Record{Member: Member{Name: name, State: Active, Generation: 1}, LastSeen: start}
	}
	h := NewHistory(of("a"), nil, 3)
	for _, name := range []string{"b", "c"} {
		h.Seen(of(name))
		h.View(start)
	}
	h.Resume(stopped, resumed)
	require.Zero(t, h.View(resumed).MinoritySince, "what it believes of others is as old")
	lost := resumed.Add(staleMax / 2)
	h.Lost("b", lost)
	h.Lost("c", lost)
	require.Equal(t, stopped, h.View(lost).MinoritySince)
	require.Equal(t, stopped, h.View(lost.Add(time.Hour)).MinoritySince)

	h.Seen(of("b"))
	require.Zero(t, h.View(lost).MinoritySince)
	h.Lost("b", lost)
	require.Equal(t, lost, h.View(lost).MinoritySince, "it has seen a majority since it stood still")

	h.Seen(of("b"))
	h.View(lost)
	h.Resume(stopped, resumed)
	later := resumed.Add(staleMax)
	h.Lost("b", later)
	require.Equal(t, later, h.View(later).MinoritySince, "by now it would have noticed")
}
