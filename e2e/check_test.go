// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// everything selects all series.
const everything = `{__name__!=""}`

// The exports that are compared: each server's samples as they came, and what dedup makes of both. Both servers are
// healthy all the time, so dedup must give exactly the samples of the preferred one; not so of a series that comes and
// goes, which can be there for one server while it is away for the other.
const (
	exportA     = `{replica="a"}`
	exportB     = `{replica="b"}`
	exportDedup = `{job="target",__name__!="e2e_flapping"}`
)

// complete waits until every node answers with exactly the samples that the servers have. Waiting is for samples on
// their way; an answer that is an error or says that something is missing fails at once.
func (s *story) complete(from, to time.Time, nodes ...harness.API) {
	s.t.Helper()
	if nodes == nil {
		nodes = apis(s.cluster.Nodes)
	}
	for _, n := range nodes {
		samples := 0
		harness.Eventually(s.t, harness.Patience, n.Name+" answers what the Prometheus servers do", func() error {
			// What has been scraped can still be on its way into the servers' own storage, so they are asked again.
			want := s.wants(from, to)
			samples = 0
			for what, m := range want {
				if err := m.Equal(s.export(n, what, from, to)); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				samples += m.Samples()
			}
			return nil
		})
		s.t.Logf("%s: %d samples equal", n.Name, samples)
	}
}

// apis are the nodes as something to ask.
func apis(nodes []*harness.Node) []harness.API {
	out := make([]harness.API, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.API)
	}
	return out
}

// wants is what the servers themselves answer.
func (s *story) wants(from, to time.Time) map[string]harness.Matrix {
	s.t.Helper()
	ask := func(p *harness.Prometheus, selector string) harness.Matrix {
		m, err := p.Export(selector, from, to, harness.Options{})
		s.noError(err)
		s.atLeast("samples of "+p.Name, m.Samples(), 1)
		return m
	}
	return map[string]harness.Matrix{
		exportA:     ask(s.a, everything).With(replicaLabels("a")),
		exportB:     ask(s.b, everything).With(replicaLabels("b")),
		exportDedup: ask(s.a, exportDedup).With(pairLabels),
	}
}

// export asks a node for one of the exports. The answer must be complete.
func (s *story) export(api harness.API, what string, from, to time.Time) harness.Matrix {
	s.t.Helper()
	m, err := api.Export(what, from, to, exportOptions(what))
	s.noError(err)
	return m
}

func exportOptions(what string) harness.Options {
	if what == exportDedup {
		return harness.Options{Dedup: "true"}
	}
	return harness.Options{Dedup: "false"}
}

// exemplarsEqual: the exemplars of server A are there, at every node.
func (s *story) exemplarsEqual(from, to time.Time) {
	s.t.Helper()
	const selector = `{__name__=~"e2e_requests_total|e2e_latency_seconds_bucket"}`
	for _, n := range s.cluster.Nodes {
		harness.Eventually(s.t, harness.Patience, "exemplars at "+n.Name, func() error {
			want, err := s.a.Exemplars(selector, from, to, harness.Options{})
			s.noError(err)
			s.atLeast("exemplars of "+s.a.Name, len(want), 10)
			got, err := n.Exemplars(`{replica="a",`+selector[1:], from, to, harness.Options{Dedup: "false"}, "cluster", harness.ReplicaLabel)
			s.noError(err)
			for exemplar := range want {
				if !got[exemplar] {
					return fmt.Errorf("missing: %s", exemplar)
				}
			}
			if len(got) != len(want) {
				return fmt.Errorf("%d exemplars, want %d", len(got), len(want))
			}
			return nil
		})
	}
}

// metadataThere: type and help of a metric, which remote write 1.0 sends apart from the samples.
func (s *story) metadataThere() {
	s.t.Helper()
	for _, n := range s.cluster.Nodes {
		harness.Eventually(s.t, harness.Patience, "metadata at "+n.Name, func() error {
			typ, help, err := n.Metadata("e2e_requests_total")
			if err != nil {
				return err
			}
			if typ != "counter" || help != "Requests by path and code." {
				return fmt.Errorf("type %q, help %q", typ, help)
			}
			return nil
		})
	}
}

// nothingLost: no server of the pair has given anything up.
func (s *story) nothingLost() {
	s.t.Helper()
	s.noError(s.a.Lost())
	s.noError(s.b.Lost())
}

// hintsPending is the number of hints that the nodes keep for others. A node exports it for the peers that it has had
// hints for.
func (s *story) hintsPending(nodes []*harness.Node) float64 {
	s.t.Helper()
	var sum float64
	for _, n := range nodes {
		m, err := n.Metrics()
		s.noError(err)
		sum += m.Total("penstock_hint_pending_records")
	}
	return sum
}

func zero(what string, n float64) error {
	if n != 0 {
		return fmt.Errorf("%g %s", n, what)
	}
	return nil
}

// keepsItself: the node's own storage has every sample of a time, without help from others.
func (s *story) keepsItself(n *harness.Node, from, to time.Time) {
	s.t.Helper()
	harness.Eventually(s.t, harness.Patience, n.Name+" keeps itself what it missed", func() error {
		for replica, p := range map[string]*harness.Prometheus{"a": s.a, "b": s.b} {
			want, err := p.Export(everything, from, to, harness.Options{})
			s.noError(err)
			got, err := n.LocalExport(harness.ReplicaLabel, replica, from, to)
			s.noError(err)
			if err := want.With(replicaLabels(replica)).Equal(got); err != nil {
				return err
			}
		}
		return nil
	})
}

// refusesToAnswer: with two of three nodes away a query is an error, from the first one on.
func (s *story) refusesToAnswer(n *harness.Node) {
	s.t.Helper()
	resp, err := n.Query(exportA, time.Now(), harness.Options{Dedup: "false"})
	s.noError(err)
	if resp.Code != http.StatusServiceUnavailable || resp.Status != "error" {
		s.t.Fatalf("%s alone of three answered a query with %d: %.300s", n.Name, resp.Code, resp.Body)
	}
	s.t.Logf("%s alone answers: %s", n.Name, resp.Error)
}

// answersInPart: a user who asks for what there is gets it, with a warning.
func (s *story) answersInPart(n *harness.Node) {
	s.t.Helper()
	resp, err := n.Query(exportA, time.Now(), harness.Options{Dedup: "false", Partial: true})
	s.noError(err)
	if resp.Code != http.StatusOK || len(resp.Warnings) == 0 {
		s.t.Fatalf("%s alone of three answered partial_response=true with %d, warnings %q: %.300s", n.Name, resp.Code, resp.Warnings, resp.Body)
	}
	s.t.Logf("%s alone warns: %q", n.Name, resp.Warnings)
	// All three nodes own every series here, so one node has all of what it was there for, and of what it was told later.
	got, err := n.Export(exportA, s.from, s.downTo, harness.Options{Dedup: "false", Partial: true})
	s.noError(err)
	s.noError(s.wants(s.from, s.downTo)[exportA].Equal(got))
}

// refusesToStore: below the quorum every write is a 503 that says when to come again, and soon also why.
func (s *story) refusesToStore(n *harness.Node) {
	s.t.Helper()
	harness.Eventually(s.t, harness.Patience, n.Name+" says that it is alone", func() error {
		resp, err := n.Post("/api/v1/write", harness.WriteHeader(), writeBody(s.t, "e2e_written_by_the_test", time.Now(), 1))
		s.noError(err)
		if resp.Code != http.StatusServiceUnavailable || resp.RetryAfter == "" {
			s.t.Fatalf("%s alone of three answered a write with %d, Retry-After %q: %.300s", n.Name, resp.Code, resp.RetryAfter, resp.Body)
		}
		if !strings.Contains(resp.Body, "1 of 2 members") {
			return fmt.Errorf("the reason is %q", resp.Body)
		}
		return nil
	})
}
