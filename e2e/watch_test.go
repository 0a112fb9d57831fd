// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"sync"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// queryPause is between two rounds of queries in the background: they are there to watch, not to load the machine.
const queryPause = 200 * time.Millisecond

// watch asks nodes in the background, all the time, for the past and for the present.
type watch struct {
	s       *story
	quit    chan struct{}
	done    sync.WaitGroup
	queries int
	err     error
}

// watchQueries starts asking. Every answer has to be complete, and about the past also right.
func (s *story) watchQueries(nodes []harness.API) *watch {
	s.t.Helper()
	to := time.Now()
	s.complete(s.from, to, nodes...)
	want := s.wants(s.from, to)
	w := &watch{s: s, quit: make(chan struct{})}
	w.done.Go(func() {
		for w.err == nil {
			for _, n := range nodes {
				select {
				case <-w.quit:
					return
				case <-time.After(queryPause):
				}
				if w.err = w.ask(n, want, to); w.err != nil {
					return
				}
				w.queries++
			}
		}
	})
	return w
}

func (w *watch) ask(n harness.API, want map[string]harness.Matrix, to time.Time) error {
	resp, err := n.Query("sum by(job) (up)", time.Now(), harness.Options{})
	if err != nil {
		return err
	}
	if err := resp.Complete(); err != nil {
		return fmt.Errorf("%s about now: %w", n.Name, err)
	}
	for what, m := range want {
		got, err := n.Export(what, w.s.from, to, exportOptions(what))
		if err != nil {
			return err
		}
		if err := m.Equal(got); err != nil {
			return fmt.Errorf("%s about the past, %s: %w", n.Name, what, err)
		}
	}
	return nil
}

// stop ends the watch and fails the test if one answer was not as it should.
func (w *watch) stop() {
	w.s.t.Helper()
	close(w.quit)
	w.done.Wait()
	if w.err != nil {
		w.s.t.Fatalf("after %d good rounds of queries: %v", w.queries, w.err)
	}
	w.s.atLeast("rounds of queries", w.queries, 5)
	w.s.t.Logf("%d rounds of queries were complete and right", w.queries)
}
