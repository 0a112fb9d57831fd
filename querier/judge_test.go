// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJudge gives every way in which an answer can tell more than the asking side has heard.
func TestJudge(t *testing.T) {
	// a asks; it knows b and c, each with the data directory of number 10.
	base := Membership{RF: 3, Members: []Member{
		{Name: "a", Self: true, Alive: true, Serving: true, Generation: 10},
		{Name: "b", Alive: true, Serving: true, Generation: 10},
		{Name: "c", Alive: true, Serving: true, Generation: 10},
	}}
	same := selfReport{said: true, generation: 10}
	f := func(name string, change func(*Membership), b, c *said, lacks, strangers string) {
		t.Helper()
		ms := base
		ms.Members = append([]Member(nil), base.Members...)
		if change != nil {
			change(&ms)
		}
		gotLacks, gotStrangers := judge(ms, []*said{{}, b, c})
		var names []string
		for _, m := range gotStrangers {
			names = append(names, m.Name+m.Zone)
		}
		require.Equal(t, lacks, strings.Join(gotLacks, "|"), name)
		require.Equal(t, strangers, strings.Join(names, " "), name)
	}
	says := func(self selfReport, facts ...fact) *said { return &said{testimony: testimony{self, facts}} }

	f("all know the same", nil, says(same), says(same), "||", "")
	f("one does not answer", nil, nil, says(same), "||", "")
	f("the first versions say nothing", nil, says(selfReport{}), says(selfReport{}), "||", "")
	f("b lost something", nil, says(selfReport{said: true, generation: 10, lacks: "a log"}), says(same), "|a log|", "")
	f("b has another disk", nil, says(selfReport{said: true, generation: 11}), says(same), "|"+reasonReplaced+"|", "")
	f("b has an earlier disk", nil, says(selfReport{said: true, generation: 9}), says(same), "|"+reasonReplaced+"|", "")
	f("b was given back what it lost", nil, says(selfReport{said: true, generation: 11, refilled: 10}), says(same), "||", "")
	f("b was given back less", nil, says(selfReport{said: true, generation: 11, refilled: 8}), says(same), "|"+reasonReplaced+"|", "")
	left := func(ms *Membership) { ms.Gone = []Gone{{"b", 10}} }
	f("the former b left", left, says(selfReport{said: true, generation: 11}), says(same), "||", "")
	f("c knows that the former b left", nil, says(selfReport{said: true, generation: 11}), says(same, fact{name: "b", generation: 11, ended: 10}), "||", "")
	f("c alone knows the former disk of b", nil, says(same), says(same, fact{name: "b", generation: 10, replaced: 7}), "|"+reasonReplaced+"|", "")
	f("c has b's former disk for the one in use", nil, says(same), says(same, fact{name: "b", generation: 7}), "|"+reasonReplaced+"|", "")
	f("that disk was refilled", nil, says(selfReport{said: true, generation: 10, refilled: 7}), says(same, fact{name: "b", generation: 7}), "||", "")
	f("b knows a former disk of a", nil, says(same, fact{name: "a", generation: 5}), says(same), reasonReplaced+"||", "")
	f("of a member of the first versions too", nil, says(selfReport{}), says(same, fact{name: "b", generation: 10, replaced: 7}), "|"+reasonReplaced+"|", "")
	f("it is accounted for", func(ms *Membership) { ms.Members[1].Excused = true },
		says(selfReport{said: true, generation: 11, lacks: "a log"}), says(same), "||", "")
	f("a itself came to lack something", func(ms *Membership) { ms.Members[0].Lacks = "a block" }, says(same), says(same), "a block||", "")

	f("b knows d", nil, says(same, fact{name: "d", zone: "z", generation: 12}), says(same), "||", "dz")
	f("both know d", nil, says(same, fact{name: "d", generation: 12}), says(same, fact{name: "d", generation: 12}), "||", "d")
	f("b knows d, which left", nil, says(same, fact{name: "d", ended: 12}), says(same), "||", "")
	f("b has not heard that d left", func(ms *Membership) { ms.Gone = []Gone{{"d", 12}} }, says(same, fact{name: "d", generation: 12}), says(same), "||", "")
	f("d came again", func(ms *Membership) { ms.Gone = []Gone{{"d", 12}} }, says(same, fact{name: "d", generation: 13}), says(same), "||", "d")
}

// TestTestimonyRoundTrip also holds the form of the headers.
func TestTestimonyRoundTrip(t *testing.T) {
	ms := Membership{
		Members: []Member{
			{Name: "a", Zone: "eu 1,b", Self: true, Alive: true, Serving: true, Generation: 3, Refilled: 2, Lacks: "lost a log, 50%"},
			{Name: "b", Generation: 4, Replaced: 1},
		},
		Gone: []Gone{{"b", 2}, {"x", 9}},
	}
	encoded := encodeFacts(ms.facts())
	require.Equal(t, "1;a eu+1%2Cb 3 0 0,b  4 1 2,x  0 0 9", encoded)
	facts, err := decodeFacts(encoded)
	require.NoError(t, err)
	require.Equal(t, ms.facts(), facts)

	self := ms.self()
	require.Equal(t, "1;3 2 lost+a+log%2C+50%25", self.encode())
	got, err := decodeSelf(self.encode())
	require.NoError(t, err)
	require.Equal(t, self, got)

	// Nothing, a digest and another version say nothing.
	for _, value := range []string{"", "1;", digestOf(encoded), "2;a", "2;=5"} {
		facts, err := decodeFacts(value)
		require.NoError(t, err, value)
		require.Empty(t, facts, value)
	}
	got, err = decodeSelf("2;whatever")
	require.NoError(t, err)
	require.Equal(t, selfReport{}, got)
	// Fields after those known are of a later version.
	facts, err = decodeFacts("1;a z 1 2 3 later")
	require.NoError(t, err)
	require.Equal(t, []fact{{"a", "z", 1, 2, 3}}, facts)

	// What is damaged makes the member missing.
	for _, value := range []string{"1;a", "1;a z 1 2", "1;a z 1 2 x", "1; z 1 2 3", "1;a %zz 1 2 3", "1;" + strings.Repeat("a z 1 2 3,", factsMax) + "a z 1 2 3"} {
		_, err := decodeTestimony(http.Header{headerMembers: {value}})
		require.Error(t, err, value[:min(20, len(value))])
	}
	for _, value := range []string{"1;1", "1;x 2 ", "1;1 2 %zz"} {
		_, err := decodeTestimony(http.Header{headerSelf: {value}})
		require.Error(t, err, value)
	}
}
