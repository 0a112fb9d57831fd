// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// introductionOf returns the view of a newcomer "j" that knows the members named, and what each
// of them answers: K knows it, N is a newcomer that knows it, S has known its name before, -
// does not know it or does not answer. A digit after that is its zone.
func introductionOf(rf int, members string) (*View, map[string]introduceJSON) {
	// A ring without slots: to place them takes most of the time.
	view := &View{Self: "j", Ring: &Ring{rf: rf}, Members: []MemberStatus{{Member: Member{Name: "j", Newcomer: true}}}}
	replies := map[string]introduceJSON{}
	for i, text := range strings.Fields(members) {
		name := fmt.Sprint("m", i)
		view.Members = append(view.Members, MemberStatus{Member: Member{Name: name, Zone: text[1:]}})
		if text[0] != '-' {
			replies[name] = introduceJSON{Version: introduceVersion, Knows: true, Newcomer: text[0] == 'N', Settled: text[0] == 'S'}
		}
	}
	return view, replies
}

func TestIntroduced(t *testing.T) {
	f := func(rf int, members string, want bool) {
		t.Helper()
		view, replies := introductionOf(rf, members)
		got, waiting := decideIntroduced(view, replies)
		require.Equal(t, want, got, "rf %d, %s", rf, members)
		if !strings.Contains(members, "S") {
			require.Len(t, waiting, strings.Count(members, "-"))
		}
	}
	f(3, "", false) // The first of a cluster has nobody to write to.
	f(1, "", true)
	f(3, "K", true)
	f(3, "N", true)
	f(3, "-", false)
	f(3, "K -", false) // Who knows m1 alone may be all that answers: one of two may be missing.
	f(3, "K K", true)
	f(3, "N N", true) // All begin at once.
	f(3, "N -", false)
	f(3, "K K -", true)
	f(3, "K - -", false)
	f(3, "K N -", false) // The other newcomer may not be known either.
	f(3, "N N -", false)
	f(3, "K K N -", true)
	f(3, "S - -", true)
	f(5, "K K - - -", false)
	f(5, "K K K - -", true)
	f(2, "K -", true) // No member may be missing.
	f(1, "K - -", true)
	f(1, "- -", false)
	f(3, "Ka Ka -b -c", false) // A whole zone may be missing.
	f(3, "Ka Kb -b -c", true)
	f(3, "Ka Ka -a -b", true) // Not with fewer zones than copies.
}

// TestIntroducedIsSound: whenever a newcomer is introduced, every answer of a member that knows the settled members,
// and is called complete, has one among those that answered which knows the newcomer. For all clusters of
// up to four members in up to three zones, all replies and all sets that may be missing.
func TestIntroducedIsSound(t *testing.T) {
	said := 0
	var zones func(n int, have string)
	check := func(kinds, zoning string) {
		var text []string
		for i := range kinds {
			text = append(text, kinds[i:i+1]+zoning[i:i+1])
		}
		for rf := 1; rf <= 5; rf++ {
			view, replies := introductionOf(rf, strings.Join(text, " "))
			if ok, _ := decideIntroduced(view, replies); !ok || !strings.Contains(kinds, "-") {
				continue // Where all know it there is nothing to check.
			}
			said++
			asked := map[string]string{} // Whom the asking member knows: those that are settled.
			var known []string
			for i := range kinds {
				if kinds[i] != 'N' {
					asked[fmt.Sprint(i)] = zoning[i : i+1]
				}
				if kinds[i] == 'K' {
					known = append(known, zoning[i:i+1])
				}
			}
			require.False(t, len(asked) >= rf/2+1 && maybeMissing(known, asked, rf),
				"rf %d, %v: those that know it may all be missing", rf, text)
		}
	}
	kinds := []string{"K", "N", "-"}
	var replies func(n int, have, zoning string)
	replies = func(n int, have, zoning string) {
		if n == 0 {
			check(have, zoning)
			return
		}
		for _, k := range kinds {
			replies(n-1, have+k, zoning)
		}
	}
	zones = func(n int, have string) {
		if n == 0 {
			replies(len(have), "", have)
			return
		}
		for _, z := range []string{"a", "b", "c"} {
			zones(n-1, have+z)
		}
	}
	for n := 1; n <= 4; n++ {
		zones(n, "")
	}
	require.Greater(t, said, 1000)
}

// TestIntroducer asks real handlers.
func TestIntroducer(t *testing.T) {
	self := Member{Name: "j", State: Active, Generation: 7, Newcomer: true}
	histories := map[string]*History{}
	saved := map[string]int{}
	var failing error
	h := NewHistory(Record{Member: self, LastSeen: testTime}, nil, 3)
	for _, name := range []string{"a", "b"} {
		other := NewHistory(Record{Member: Member{Name: name, State: Active, Generation: 1}, LastSeen: testTime}, nil, 3)
		histories[name] = other
		server := httptest.NewServer(IntroduceHandler(func() *View { return other.View(testTime) }, func() error {
			saved[name]++
			return failing
		}))
		t.Cleanup(server.Close)
		h.Seen(Record{Member: Member{Name: name, State: Active, InternalAddr: strings.TrimPrefix(server.URL, "http://")}, LastSeen: testTime})
	}
	i := Introducer{View: func() *View { return h.View(testTime) }, Client: &http.Client{}}
	ask := func() (bool, []string) { return i.Ask(t.Context()) }

	introduced, waiting := ask()
	require.False(t, introduced)
	require.Equal(t, []string{"a", "b"}, waiting)

	stale := self
	stale.Generation = 6 // Another disk under the name.
	histories["a"].Seen(Record{Member: self, LastSeen: testTime})
	histories["b"].Seen(Record{Member: stale, LastSeen: testTime})
	introduced, waiting = ask()
	require.False(t, introduced)
	require.Equal(t, []string{"b"}, waiting)
	require.Equal(t, map[string]int{"a": 1}, saved)

	histories["b"].Seen(Record{Member: self, LastSeen: testTime})
	histories["b"].Seen(Record{Member: Member{Name: "c", Generation: 3}, LastSeen: testTime})
	introduced, waiting = ask()
	require.False(t, introduced)
	require.Equal(t, []string{"c", "j"}, waiting, "b knows one that we do not, and a former disk of ours")
	h.Merge([]Record{{Member: stale, LastSeen: testTime}}, time.Time{}, testTime)
	h.Seen(Record{Member: Member{Name: "c", Generation: 3, InternalAddr: "localhost:0"}, LastSeen: testTime})
	introduced, waiting = ask()
	require.True(t, introduced, "two of three know it")
	require.Equal(t, []string{"c"}, waiting)

	failing = errors.New("disk full")
	introduced, _ = ask()
	require.False(t, introduced, "what is not on disk may be forgotten by a crash")
	failing = nil

	settled := self
	settled.Generation, settled.Newcomer = 5, false
	h.Lost("a", testTime)
	histories["b"].Merge([]Record{{Member: settled, LastSeen: testTime}}, time.Time{}, testTime)
	introduced, _ = ask()
	require.True(t, introduced, "the name took writes before")

	// A member of a version that knows no newcomers lets it in.
	old := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(old.Close)
	first := NewHistory(Record{Member: self, LastSeen: testTime}, nil, 3)
	i.View = func() *View { return first.View(testTime) }
	introduced, _ = ask()
	require.False(t, introduced, "it knows nobody yet")
	first.Seen(Record{Member: Member{Name: "o", State: Active, InternalAddr: strings.TrimPrefix(old.URL, "http://")}, LastSeen: testTime})
	introduced, _ = ask()
	require.True(t, introduced)

	resp, err := i.Client.Post("http://"+mustMember(t, h, "b").InternalAddr+"?"+url.Values{"member": {"j"}}.Encode(), "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func mustMember(t *testing.T, h *History, name string) Member {
	v := h.View(testTime)
	i := slices.IndexFunc(v.Members, func(m MemberStatus) bool { return m.Name == name })
	require.GreaterOrEqual(t, i, 0)
	return v.Members[i].Member
}

// TestSettled: a newcomer under a name that took writes before is told from one under a new name,
// whatever way the news came.
func TestSettled(t *testing.T) {
	first := Record{Member: Member{Name: "m", Generation: 1}, LastSeen: testTime}
	second := Record{Member: Member{Name: "m", Generation: 2, Newcomer: true}, LastSeen: testTime}
	third := Record{Member: Member{Name: "m", Generation: 3, Newcomer: true}, LastSeen: testTime}
	require.True(t, first.settled())
	require.False(t, second.settled())
	require.False(t, newest(second, third).settled())
	for _, r := range []Record{newest(first, second), newest(second, first), newest(newest(first, second), third), newest(first, newest(third, second))} {
		require.True(t, r.settled())
		require.True(t, r.Newcomer)
	}
}
