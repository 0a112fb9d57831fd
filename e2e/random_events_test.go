// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import "testing"

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
	for _, node := range r.nodes[:2] {
		node.Process.Kill()
		node.Start()
		node.WaitReady()
	}
}

// lose kills the member that is asked nothing. Every sample has another copy, also where copies have holes.
func (r *random) lose(*testing.T) {
	r.nodes[2].Process.Kill()
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
