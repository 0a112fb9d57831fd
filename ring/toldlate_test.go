// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestToldLate: a state that nobody could be told in time is set, and is told when gossip gets through.
func TestToldLate(t *testing.T) {
	a, b, c := three(t)
	a.announce.Lock()
	err := a.setState(Leaving, time.Nanosecond)
	a.announce.Unlock()
	require.ErrorIs(t, err, ErrToldLate)
	wait(t, "the others learn it", func() bool {
		for _, n := range []*node{b, c} {
			for _, m := range n.View().Members {
				if m.Name == a.View().Self && m.State != Leaving {
					return false
				}
			}
		}
		return true
	}, a, b, c)
}
