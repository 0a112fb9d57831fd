// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
)

// randomEvents are what happens while questions are asked, each after so many sixths of them. No answer is to show it, but for
// samples that were written.
var randomEvents = []func(*random, *testing.T){
	1: (*random).writeLate,
	2: (*random).flush,
	3: (*random).restart,
	4: (*random).lose,
	5: (*random).restart,
}

func (r *random) happens(t *testing.T, n, questions uint64) {
	t.Helper()
	for i, event := range randomEvents {
		if event != nil && n == questions*uint64(i)/uint64(len(randomEvents)+1) {
			event(r, t)
		}
	}
}

// writeLate writes samples that are older than others which are there.
func (r *random) writeLate(t *testing.T) {
	t.Helper()
	r.push(t, r.prometheus, true)
	for _, side := range r.sides {
		r.push(t, side.API, true, side.more...)
	}
}

// flush makes blocks of all heads, which go to the bucket.
func (r *random) flush(t *testing.T) {
	t.Helper()
	noError(t, r.lone.Flush())
	for _, node := range r.nodes {
		noError(t, node.Flush())
	}
}

// restart kills a node that is asked questions. Nothing is in its cache then.
func (r *random) restart(t *testing.T) {
	t.Helper()
	r.used(t)
	r.restarted = true
	for _, node := range r.nodes[:2] {
		node.Process.Kill()
		node.Start()
		node.WaitReady()
	}
	harness.Eventually(t, harness.Patience, "all nodes see all that run", func() error {
		for _, node := range r.nodes[:2] {
			if err := r.seesRunning(node); err != nil {
				return fmt.Errorf("%s: %w", node.Name, err)
			}
		}
		return nil
	})
}

// seesRunning is nil if a node sees each node that runs, and as one that takes part.
func (r *random) seesRunning(node *harness.Node) error {
	ring, err := node.Ring()
	if err != nil {
		return err
	}
	for i, other := range r.nodes {
		if i != victim && !slices.ContainsFunc(ring.Members, func(m harness.RingMember) bool { return m.Name == other.Name && m.Alive && m.State == "ACTIVE" }) {
			return fmt.Errorf("it does not see %s", other.Name)
		}
	}
	return nil
}

// victim is the index of the node that is killed for good.
const victim = 2

// lose kills the member that is asked nothing. Every sample has another copy, also where copies have holes.
func (r *random) lose(*testing.T) {
	r.nodes[victim].Process.Kill()
}

// used wants everybody to have answered from what this is about.
func (r *random) used(t *testing.T) {
	t.Helper()
	for _, side := range r.sides {
		m, err := side.Metrics()
		noError(t, err)
		t.Logf("%s: %g splits", side.Name, m.Labelled("penstock_query_cache_queries_total", "way", "split"))
		for _, source := range []string{"store", "engine"} {
			n := m.Labelled("penstock_query_cache_steps_total", "source", source)
			t.Logf("%s: %g steps from the %s", side.Name, n, source)
			if n == 0 {
				t.Errorf("%s has answered nothing from the %s", side.Name, source)
			}
		}
	}
}
