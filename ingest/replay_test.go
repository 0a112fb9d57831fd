// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// TestReplay delivers the hints of a member that is back, and of this member itself.
func TestReplay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.kill(2)
	c.owners[0].verdict = func(string) Verdict { return Unavailable }
	// Two of three cannot take it: no ack. With the third back there is a quorum.
	require.Equal(t, 503, c.send("x").Code)
	c.kill()
	require.Equal(t, 204, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
	c.owners[0].verdict = nil
	c.kill(2)
	require.Equal(t, 204, c.send("y").Code)
	require.Equal(t, []string{"y"}, c.hints.series(t, "m2"))
	require.False(t, c.owners[2].has("y"))
	c.kill()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.dist.Run(ctx) }()
	require.Eventually(t, func() bool { return c.hinted() == 0 }, 15*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.True(t, c.owners[2].has("y"))
	require.True(t, c.owners[0].has("x"))
}

// TestReplayKeepsWhatIsNotTaken leaves a hint where it is while its owner is
// unavailable, and drops what can never be read.
func TestReplayKeepsWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.kill(2)
	require.Equal(t, 204, c.send("x").Code)
	c.kill()
	view := c.currentView()
	m, _ := view.Member("m2")
	require.NoError(t, c.hints.Append("m2", []byte("not a hint")))

	c.owners[2].verdict = func(string) Verdict { return Unavailable }
	c.dist.replayTo(t.Context(), view, m)
	require.Equal(t, 2, c.hints.count("m2"))
	c.owners[2].verdict = func(string) Verdict { return Rejected }
	c.dist.replayTo(t.Context(), view, m)
	require.Equal(t, 0, c.hints.count("m2"))

	// The same for the hints of this member itself.
	c.owners[2].verdict, c.owners[0].panics = nil, true
	require.Equal(t, 204, c.send("y").Code)
	self, _ := view.Member("m0")
	c.dist.replayTo(t.Context(), view, self)
	require.Equal(t, 1, c.hints.count("m0"))
	c.owners[0].panics = false
	c.dist.replayTo(t.Context(), view, self)
	require.Equal(t, 0, c.hints.count("m0"))
	require.True(t, c.owners[0].has("y"))
}

// TestHintsOfAMemberThatLeft go to the owners that came after it.
func TestHintsOfAMemberThatLeft(t *testing.T) {
	c := newCluster(t, 4, 3)
	c.kill(2)
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	require.Equal(t, 204, c.send(names...).Code)
	hinted := c.hints.series(t, "m2")
	require.NotEmpty(t, hinted)
	require.NoError(t, c.hints.Append("m2", []byte("not a hint")))
	c.setMembers(func(i int) (ring.State, bool) {
		if i == 2 {
			return ring.Left, false
		}
		return ring.Active, true
	})
	view := c.currentView()
	left, _ := view.Member("m2")

	// An owner that cannot take it now keeps the hint where it is.
	c.owners[1].verdict = func(string) Verdict { return Unavailable }
	c.owners[3].verdict = c.owners[1].verdict
	c.dist.replayTo(t.Context(), view, left)
	require.Equal(t, 2, c.hints.count("m2"))

	c.owners[1].verdict, c.owners[3].verdict = nil, nil
	c.dist.replayTo(t.Context(), view, left)
	require.Zero(t, c.hints.count("m2"))
	for _, name := range hinted {
		for _, i := range []int{0, 1, 3} {
			require.True(t, c.owners[i].has(name), "%s on m%d", name, i)
		}
	}
	require.False(t, c.owners[2].has(hinted[0]))
}
