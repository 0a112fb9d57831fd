// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
)

func TestMissers(t *testing.T) {
	// Members are named by a letter; capital ones are dead, and those with a mark JOINING (j),
	// LEFT (l) or forgotten (f). "a" is the member that asks.
	f := func(debt hint.Debt, members, tell string, void bool) {
		t.Helper()
		now := time.Unix(1000, 0)
		var known []ring.Record
		var alive []ring.Record
		for text := range strings.FieldsSeq(members) {
			name := strings.ToLower(text[:1])
			r := ring.Record{Member: ring.Member{Name: name, State: ring.Active}, LastSeen: now}
			switch text[1:] {
			case "j":
				r.State = ring.Joining
			case "l":
				r.State = ring.Left
			case "f":
				r.ForgottenAt = now
			}
			known = append(known, r)
			if name == text[:1] && r.ForgottenAt.IsZero() {
				alive = append(alive, r)
			}
		}
		h := ring.NewHistory(ring.Record{Member: ring.Member{Name: "a", State: ring.Active}, LastSeen: now}, known, 3)
		for _, r := range alive {
			h.Seen(r)
		}
		got, gotVoid := Missers(debt, h.View(now))
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
		}
		require.Equal(t, tell, strings.Join(names, " "), members)
		require.Equal(t, void, gotVoid, members)
	}
	b := hint.Debt{Member: "b"}
	f(b, "b c", "b", false)
	f(b, "B c", "", false)
	f(b, "bj c", "", false)
	f(b, "Bf c", "", false)
	f(b, "bl c", "", true)
	f(b, "c", "", true)
	f(hint.Debt{Member: "a"}, "b c", "a", false)

	ab := hint.Debt{Ring: []string{"a", "b"}}
	f(ab, "b", "", false) // Still too few.
	f(ab, "b c", "c", false)
	f(ab, "b C", "", false)
	f(ab, "b cj", "", false)
	f(ab, "b Cf", "", false)
	f(ab, "b c d", "c d", false)
	f(ab, "b c D", "", false)     // All at once.
	f(ab, "Bf c d", "c d", false) // b may never come back; a has it.
	f(hint.Debt{Ring: []string{"b", "c"}}, "b c", "a", false)
	f(hint.Debt{}, "b c", "a b c", false)
	f(hint.Debt{Ring: []string{"a", "b", "c"}}, "b c", "", true)
}

// TestShortRing: a write to fewer members than copies is noted, as there is nobody to keep a hint for.
func TestShortRing(t *testing.T) {
	t.Parallel()
	for members, want := range map[int]int{2: 1, 3: 0, 4: 0} {
		c := newCluster(t, members, 3)
		require.Equal(t, 204, c.send("x").Code)
		c.dist.Close()
		require.Len(t, c.hints.short, want)
		if want > 0 {
			require.Equal(t, memberName(0)+","+memberName(1), c.hints.short[0])
		}
	}
	c := newCluster(t, 2, 3)
	c.kill(1)
	require.Equal(t, 503, c.send("x").Code)
	c.dist.Close()
	require.Empty(t, c.hints.short, "nothing is promised")
}
