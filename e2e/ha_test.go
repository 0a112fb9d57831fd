// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// TestHAPair tells one story from the first sample to the loss of all local data: two Prometheus servers that scrape
// the same targets, one that speaks remote write 1.0 and one that speaks 2.0, write through HAProxy to three nodes that
// keep three copies of each series and ship blocks to S3. Each chapter goes on where the one before has ended.
func TestHAPair(t *testing.T) {
	s := startStory(t)
	s.everySeriesOnceAndTwice()
	s.samplesEqualPrometheus()
	s.oneNodeKilled()
	s.nodeReturns()
	s.rollingRestart()
	s.twoNodesDown()
	s.blocksInBucket()
	s.localDataWiped()
}

// everySeriesOnceAndTwice: what server A holds is there once for a user, and once for each server underneath.
func (s *story) everySeriesOnceAndTwice() {
	s.t.Helper()
	s.chapter("every series once with dedup and twice without")
	to := s.passes(slowInterval + afterwards)
	want, err := s.a.SeriesLabels(s.from, to, harness.Options{})
	s.noError(err)
	s.atLeast("series of Prometheus A", len(want.All), 1000)
	harness.Eventually(s.t, harness.Patience, "every series of A is there", func() error {
		// B scrapes at other times, so a new series can come from it a little later.
		once, err := s.proxy.SeriesLabels(s.from, time.Now(), harness.Options{Dedup: "true"})
		s.noError(err)
		twice, err := s.proxy.SeriesLabels(s.from, time.Now(), harness.Options{Dedup: "false"})
		s.noError(err)
		pairs := twice.Without(harness.ReplicaLabel)
		for _, labels := range want.All {
			err := errors.Join(
				once.Times(with(labels, pairLabels), 1),
				twice.Times(with(labels, replicaLabels("a")), 1),
				twice.Times(with(labels, replicaLabels("b")), 1),
				// Nothing is there a third time, under another replica.
				pairs.Times(with(labels, pairLabels), 2),
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.t.Logf("%d series of Prometheus A are there once with dedup and twice without", len(want.All))
}

// samplesEqualPrometheus: what a node answers is what the server that scraped it answers, sample by sample.
func (s *story) samplesEqualPrometheus() {
	s.t.Helper()
	s.chapter("samples equal those of Prometheus")
	to := time.Now()
	s.complete(s.from, to)
	s.exemplarsEqual(s.from, to)
	s.metadataThere()
}

// oneNodeKilled: a node dies under load. Senders lose nothing and queries miss nothing.
func (s *story) oneNodeKilled() {
	s.t.Helper()
	s.chapter("one node killed")
	victim, survivors := s.cluster.Nodes[1], []*harness.Node{s.cluster.Nodes[0], s.cluster.Nodes[2]}
	watch := s.watchQueries(apis(survivors))
	s.downFrom = time.Now()
	victim.Process.Kill()
	s.downTo = s.passes(outage)
	s.complete(s.from, s.downTo, apis(survivors)...)
	watch.stop()

	s.atLeast("records of hints for the node that is down", int(s.hintsPending(survivors)), 1)
	s.nothingLost()
}

// nodeReturns: it is a member again at once, and gets what it has missed.
func (s *story) nodeReturns() {
	s.t.Helper()
	s.chapter("the node returns")
	node := s.cluster.Nodes[1]
	node.Start()
	s.t.Logf("the ring was whole %s after the start of the node", s.cluster.WaitWhole(rejoinWithin))
	node.WaitReady()
	took := harness.Eventually(s.t, harness.Patience, "hints are replayed", func() error {
		return zero("records of hints", s.hintsPending(s.cluster.Nodes))
	})
	s.t.Logf("hints were replayed %s after that", took)
	s.keepsItself(node, s.downFrom, s.downTo)
	s.nothingLost()
}

// rollingRestart: an operator restarts one node after the other. No sender loses a sample, and no user behind the load
// balancer sees an error.
func (s *story) rollingRestart() {
	s.t.Helper()
	s.chapter("rolling restart")
	watch := s.watchQueries([]harness.API{s.proxy.API})
	for _, n := range s.cluster.Nodes {
		if code := n.Process.Terminate(); code != 0 {
			s.t.Fatalf("%s ended with exit code %d after SIGTERM, want 0", n.Name, code)
		}
		s.passes(afterwards)
		n.Start()
		n.WaitReady()
		s.cluster.WaitWhole(rejoinWithin)
	}
	watch.stop()
	s.complete(s.from, s.passes(afterwards))
	s.nothingLost()
}

// twoNodesDown: the one that is left refuses to guess and to promise, and once the others are back nothing is missing.
func (s *story) twoNodesDown() {
	s.t.Helper()
	s.chapter("two nodes down")
	left := s.cluster.Nodes[1]
	down := []*harness.Node{s.cluster.Nodes[0], s.cluster.Nodes[2]}
	for _, n := range down {
		n.Process.Kill()
	}
	s.refusesToAnswer(left)
	s.answersInPart(left)
	s.refusesToStore(left)
	s.passes(outage)
	for _, p := range []*harness.Prometheus{s.a, s.b} {
		retried, err := p.Sum("prometheus_remote_storage_samples_retried_total")
		s.noError(err)
		s.atLeast("samples that "+p.Name+" has to send again", int(retried), 1)
	}
	s.nothingLost()

	for _, n := range down {
		n.Start()
	}
	for _, n := range down {
		n.WaitReady()
	}
	s.cluster.WaitWhole(rejoinWithin)
	s.complete(s.from, s.passes(afterwards))
	s.nothingLost()
}

// blocksInBucket: every node ships the blocks that it finishes, and one of them makes one block of those of all, by
// themselves, in the layout that Thanos reads.
func (s *story) blocksInBucket() {
	s.t.Helper()
	s.chapter("blocks in the bucket")
	bkt := s.openBucket()
	took := harness.Eventually(s.t, 8*blockDuration, "a block of every node is in the bucket, and one made of several", func() error {
		blocks, err := shippedBlocks(bkt)
		if err != nil {
			return err
		}
		for _, n := range s.cluster.Nodes {
			if len(blocks[n.Name]) == 0 {
				return fmt.Errorf("none of %s among %d", n.Name, len(blocks))
			}
		}
		for _, b := range blocks[compacted] {
			if len(b.Compaction.Sources) > 1 {
				return nil
			}
		}
		return fmt.Errorf("none that was made of several among %d", len(blocks[compacted]))
	})
	s.t.Logf("that took %s", took)
}

// localDataWiped: every node loses its disk, and the same query gets the same answer from the bucket.
func (s *story) localDataWiped() {
	s.t.Helper()
	s.chapter("local data wiped")
	to := s.passes(afterwards)
	s.complete(s.from, to)
	before := s.wants(s.from, to)
	for _, p := range []*harness.Prometheus{s.a, s.b} {
		p.Process.Kill()
	}
	for _, n := range s.cluster.Nodes {
		s.noError(n.Flush())
	}
	for _, n := range s.cluster.Nodes {
		if code := n.Process.Terminate(); code != 0 {
			s.t.Fatalf("%s ended with exit code %d after SIGTERM, want 0", n.Name, code)
		}
		s.noError(os.RemoveAll(n.DataDir))
	}
	s.cluster.Start()
	for _, n := range s.cluster.Nodes {
		for what, want := range before {
			if err := want.Equal(s.export(n.API, what, s.from, to)); err != nil {
				s.t.Fatalf("%s, %s, after all local data was wiped: %v", n.Name, what, err)
			}
		}
	}
}
