// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Members whose clocks differ by up to an hour tell each other of dead ones all the time. Nobody is
// forgotten before the time is over that he was dead for, by any clock, nor much later; and whoever
// was forgotten stays so, everywhere. One member starts late, with what it hears; one restarts, with
// what it knew.
func TestForgettingWithWrongClocks(t *testing.T) {
	const after, turn = 30 * time.Minute, 30 * time.Second
	skews := []time.Duration{0, 5 * time.Minute, -5 * time.Minute, time.Hour, -time.Hour}
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		start := testTime
		clocks := []time.Duration{0, skews[rng.IntN(len(skews))], skews[rng.IntN(len(skews))]}
		rng.Shuffle(len(clocks), func(i, j int) { clocks[i], clocks[j] = clocks[j], clocks[i] })
		at := func(i int, now time.Time) time.Time { return now.Add(clocks[i]) }
		var members []*History
		add := func(now time.Time) {
			i := len(members)
			self := func(at time.Time) Record { return Record{Member: Member{Name: fmt.Sprint("m", i)}, LastSeen: at} }
			h := NewHistory(self(at(i, now)), nil, 3)
			for j, other := range members {
				h.Seen(Record{Member: Member{Name: fmt.Sprint("m", j)}, LastSeen: at(i, now)})
				other.Seen(self(at(j, now)))
			}
			members = append(members, h)
		}
		pushPull := func(i, j int, now time.Time) {
			a, b := members[i], members[j]
			fromA, fromB := a.Snapshot(at(i, now)), b.Snapshot(at(j, now))
			a.Merge(Translate(fromB, at(j, now), at(i, now)), at(i, now).Add(-24*time.Hour), at(i, now))
			b.Merge(Translate(fromA, at(i, now), at(j, now)), at(j, now).Add(-24*time.Hour), at(j, now))
		}
		add(start)
		add(start)
		died := start.Add(time.Duration(rng.IntN(60)) * time.Minute)
		late := died.Add(time.Duration(rng.IntN(40)) * time.Minute)
		restart := died.Add(time.Duration(rng.IntN(25)) * time.Minute)
		for i, h := range members {
			h.Seen(Record{Member: Member{Name: "x"}, LastSeen: at(i, start)})
		}
		dead := false
		for now := start; now.Before(died.Add(3 * time.Hour)); now = now.Add(turn) {
			if !dead && !now.Before(died) {
				dead = true
				died = now
				for i, h := range members {
					h.Lost("x", at(i, now))
				}
			}
			if len(members) == 2 && now.After(late) {
				add(now)
			}
			if dead && now.After(restart) {
				restart = died.Add(24 * time.Hour)
				h := NewHistory(Record{Member: Member{Name: "m1"}, LastSeen: at(1, now)}, members[1].Snapshot(at(1, now)), 3)
				for i := range members {
					if i != 1 {
						h.Seen(Record{Member: Member{Name: fmt.Sprint("m", i)}, LastSeen: at(1, now)})
					}
				}
				members[1] = h
			}
			pushPull(rng.IntN(2), len(members)-1, now)
			pushPull(0, 1, now)
			for i, h := range members {
				h.Forget(after, at(i, now))
				v := h.View(at(i, now))
				m, known := v.Member("x")
				dead := now.Sub(died)
				require.False(t, known && m.Forgotten && dead < after, "m%d, clock %s, forgot x after %s", i, clocks[i], dead)
				require.False(t, !m.Forgotten && dead > after+2*turn, "m%d, clock %s, has not forgotten x after %s", i, clocks[i], dead)
			}
		}
	})
}

// Without the clock of the sender, as from the first versions, nothing is older than it says, and
// nothing is younger than now.
func TestTranslate(t *testing.T) {
	records := []Record{{LastSeen: testTime, ForgottenAt: testTime.Add(time.Minute)}, {LastSeen: testTime}}
	f := func(sent, now time.Time, by time.Duration) {
		t.Helper()
		want := slices.Clone(records)
		for i := range want {
			want[i].LastSeen = want[i].LastSeen.Add(by)
		}
		want[0].ForgottenAt = want[0].ForgottenAt.Add(by)
		require.Equal(t, want, Translate(records, sent, now))
		require.Equal(t, testTime, records[0].LastSeen)
	}
	f(time.Time{}, testTime, 0)
	f(testTime, testTime, 0)
	f(testTime, testTime.Add(clockTolerance), 0)
	f(testTime.Add(clockTolerance), testTime, 0)
	f(testTime, testTime.Add(time.Hour), time.Hour)
	f(testTime.Add(time.Hour), testTime, -time.Hour)
}

// setClock is a clock that a test sets.
type setClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *setClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *setClock) set(off time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = off
}

// Real members whose clocks are an hour off carry the times over to their own clock.
func TestRealMembersWithWrongClocks(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		a := startNode(t, t.TempDir(), "a", nil)
		b := startNode(t, t.TempDir(), "b", nil, a.Addr())
		gone := startNode(t, t.TempDir(), "x", nil, a.Addr())
		waitAgree(t, 3, 3, a, b, gone)
		gone.kill()
		waitAgree(t, 3, 2, a, b)
		c := startNode(t, t.TempDir(), "c", func(cfg *Config) { cfg.Now = (&setClock{off: off}).now }, a.Addr())
		waitAgree(t, 4, 3, a, b, c)
		require.WithinDuration(t, c.now(), c.status("x").LastSeen, 2*eventually)
		a.rejoin(t.Context()) // c just came to life, so a asks it for what it knows.
		require.WithinDuration(t, a.now(), a.status("x").LastSeen, 2*eventually)
		require.WithinDuration(t, time.Now(), a.status("x").LastSeen, 2*eventually)
		c.kill()
		waitAgree(t, 4, 2, a, b)
		require.WithinDuration(t, time.Now(), a.status("c").LastSeen, 2*eventually)
	}
}

// A member that did not run for a while does not forget at once who was dead when it stopped.
func TestAStallIsNoDeath(t *testing.T) {
	clock := &setClock{}
	a := startNode(t, t.TempDir(), "a", func(c *Config) { c.Now = clock.now })
	b := startNode(t, t.TempDir(), "b", nil, a.Addr())
	c := startNode(t, t.TempDir(), "c", nil, a.Addr())
	waitAgree(t, 3, 3, a, b, c)
	a.stop()
	c.kill()
	waitAgree(t, 3, 2, a, b)
	a.housekeep(a.now())
	clock.set(time.Hour)
	a.housekeep(a.now())
	require.False(t, a.status("c").Forgotten)
	for step := time.Duration(0); step < a.cfg.ForgetAfter+stallMax; step += stallMax / 2 {
		clock.set(time.Hour + step)
		a.housekeep(a.now())
	}
	require.True(t, a.status("c").Forgotten)
}
