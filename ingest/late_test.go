// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLateAnswerSparesTheHint: an owner that took the write too late for the answer is
// not sent its hint. Whether the answer or the hint comes first does not matter.
func TestLateAnswerSparesTheHint(t *testing.T) {
	t.Parallel()
	for _, owner := range []int{0, 1} { // This member itself, and a peer.
		t.Run(memberName(owner), func(t *testing.T) {
			c := newCluster(t, 3, 3, func(cfg *DistributorConfig) { cfg.StragglerWait = time.Millisecond })
			release := c.block(owner)
			require.Equal(t, 204, c.send("x").Code)
			require.Equal(t, []string{"x"}, c.hints.series(t, memberName(owner)))
			release()
			c.dist.running.Wait() // The late answer has been heard.
			require.Len(t, c.owners[owner].stored["x"], 2)

			m, _ := c.currentView().Member(memberName(owner))
			c.dist.replayTo(t.Context(), c.currentView(), m)
			require.Zero(t, c.hinted())
			require.Len(t, c.owners[owner].stored["x"], 2, "sent again")
		})
	}
}

// TestLateRefusalKeepsTheHint: only who has taken everything needs no hint.
func TestLateRefusalKeepsTheHint(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) { cfg.StragglerWait = time.Millisecond })
	release := c.block(1)
	c.owners[1].verdict = func(name string) Verdict {
		if name == "y" {
			return Unavailable
		}
		return Accepted
	}
	require.Equal(t, 204, c.send("x", "y").Code)
	release()
	c.dist.running.Wait()
	c.owners[1].verdict = nil
	m, _ := c.currentView().Member("m1")
	c.dist.replayTo(t.Context(), c.currentView(), m)
	require.Zero(t, c.hinted())
	require.Len(t, c.owners[1].stored["y"], 2)
	require.Len(t, c.owners[1].stored["x"], 4, "the hint was for both")
}

func TestLateAnswers(t *testing.T) {
	t.Parallel()
	clean, partial := Reply{All: Accepted}, Reply{All: Accepted, Faults: []Fault{{Verdict: Rejected}}}
	k := hintKeyOf("a", []byte("payload"))
	f := func(want bool, steps ...func(*lateAnswers)) {
		t.Helper()
		var d deliveredHints
		l := newLateAnswers(&d, 2)
		for _, step := range steps {
			step(l)
		}
		require.Equal(t, want, d.take(k))
		require.False(t, d.take(k), "taken once")
	}
	answered := func(share int, r Reply) func(*lateAnswers) { return func(l *lateAnswers) { l.answered(share, r) } }
	hinted := func(l *lateAnswers) { l.hinted(1, k) }
	f(true, answered(1, clean), hinted)
	f(true, hinted, answered(1, clean))
	f(false, answered(0, clean), hinted)
	f(false, answered(1, partial), hinted)
	f(false, answered(1, unavailable(ReasonStorage, "")), hinted)
	f(false, hinted)
}

func TestDeliveredHintsAreBounded(t *testing.T) {
	t.Parallel()
	var d deliveredHints
	for i := range deliveredMax + 10 {
		d.add(hintKeyOf("a", fmt.Append(nil, i)))
	}
	require.Len(t, d.keys, deliveredMax)
	require.NotEqual(t, hintKeyOf("a", []byte("x")), hintKeyOf("b", []byte("x")))
}
