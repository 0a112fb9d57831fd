// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// blockDuration is short enough for blocks to be finished and shipped within a story. A head is cut once it
	// spans one and a half of it.
	blockDuration = 30 * time.Second
	// outage is how long a part stays away: some scrapes long, and longer than it takes gossip to notice (5s).
	outage = 10 * time.Second
	// switchSettles is longer than what deduplication may drop of a gauge that is scraped every second, behind the switch
	// from the server that began earlier to the preferred one (querier/dedup/DESIGN.md, "Distances").
	switchSettles = 11 * time.Second
	// afterwards is how long the story goes on after an outage, so that there is something new on top of it.
	afterwards = 3 * time.Second
	// rejoinWithin is what is promised of a member that comes back.
	rejoinWithin = 30 * time.Second
	// slowInterval is for the targets with a thousand series each.
	slowInterval = 5 * time.Second

	targetJob = "target"
)

// pairLabels are what both servers of the pair add to every series they send.
var pairLabels = map[string]string{"cluster": "demo"}

// replicaLabels are what one server of the pair adds.
func replicaLabels(replica string) map[string]string {
	return with(pairLabels, map[string]string{harness.ReplicaLabel: replica})
}

// with is the union of two label sets.
func with(labels, more map[string]string) map[string]string {
	out := maps.Clone(labels)
	maps.Copy(out, more)
	return out
}

// story is a whole installation and what has happened in it so far.
type story struct {
	t       *testing.T
	s3      *harness.S3
	cluster *harness.Cluster
	proxy   *harness.Proxy
	a, b    *harness.Prometheus
	targets int // that both servers scrape

	from             time.Time // both servers scrape everything and send it since then
	downFrom, downTo time.Time // when one node was away
}

func startStory(t *testing.T) *story {
	s := &story{t: t, s3: env.StartS3(t)}
	s.cluster = env.NewCluster(t, harness.ClusterConfig{
		Nodes:         3,
		BlockDuration: blockDuration,
		ObjstoreFile:  harness.WriteFile(t, harness.Dir(t), "objstore.yml", s.s3.ObjstoreConfig("")),
	})
	s.cluster.Start()
	s.proxy = env.StartHAProxy(t, harness.Loopback(env.FreePort(t)), s.cluster.Addresses())
	s.startPair()
	s.everythingScraped()
	s.from = s.passes(switchSettles)
	return s
}

// startPair starts both servers on the same targets: instrumented programs, the nodes, and each other.
func (s *story) startPair() {
	t := s.t
	addrs := map[string]string{"a": harness.Loopback(env.FreePort(t)), "b": harness.Loopback(env.FreePort(t))}
	targets := []string{harness.StartTarget(t, 1).Addr, harness.StartTarget(t, 2).Addr}
	jobs := []harness.ScrapeJob{
		{Name: targetJob, Addrs: targets},
		{Name: "penstock", Addrs: s.cluster.Addresses(), Interval: slowInterval},
		{Name: "prometheus", Addrs: []string{addrs["a"], addrs["b"]}, Interval: slowInterval},
	}
	for _, job := range jobs {
		s.targets += len(job.Addrs)
	}
	start := func(replica string, jobs []harness.ScrapeJob) *harness.Prometheus {
		return env.StartPrometheus(t, harness.PrometheusConfig{
			Replica: replica, Addr: addrs[replica], PushTo: s.proxy.Addr(), Jobs: jobs,
		})
	}
	s.a = start("a", jobs)
	// Histograms with custom buckets exist in remote write 2.0 only: a sender of 1.0 drops them by itself.
	s.b = start("b", append(jobs, harness.ScrapeJob{
		Name: "custom-buckets", Addrs: targets, Extra: map[string]any{"convert_classic_histograms_to_nhcb": true},
	}))
}

// everythingScraped waits until the samples of every target have come from both servers.
func (s *story) everythingScraped() {
	s.t.Helper()
	harness.Eventually(s.t, harness.Patience, "samples of all targets have come from both servers", func() error {
		for _, replica := range []string{"a", "b"} {
			query := fmt.Sprintf("sum(up{%s=%q,job!=\"custom-buckets\"})", harness.ReplicaLabel, replica)
			resp, err := s.proxy.Query(query, time.Now(), harness.Options{Dedup: "false"})
			if err != nil {
				return err
			}
			up, err := resp.Scalar()
			if err != nil {
				return err
			}
			if int(up) != s.targets {
				return fmt.Errorf("%g of %d targets are up at replica %s", up, s.targets, replica)
			}
		}
		return nil
	})
}

// chapter names what comes next in the log of the test.
func (s *story) chapter(name string) {
	s.t.Helper()
	s.t.Logf("chapter: %s", name)
}

func (s *story) noError(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// atLeast guards a comparison of things of which there could be none.
func (s *story) atLeast(what string, got, want int) {
	s.t.Helper()
	if got < want {
		s.t.Fatalf("%s: %d, want at least %d", what, got, want)
	}
}

// passes waits until both servers have scraped for so long, and returns the time up to which they have.
func (s *story) passes(d time.Duration) time.Time {
	s.t.Helper()
	until := time.Now().Add(d)
	harness.Eventually(s.t, d+harness.Patience, "both servers go on scraping", func() error {
		for _, p := range []*harness.Prometheus{s.a, s.b} {
			resp, err := p.Query(fmt.Sprintf("min(timestamp(up{job=%q}))", targetJob), time.Now(), harness.Options{})
			if err != nil {
				return err
			}
			newest, err := resp.Scalar()
			if err != nil {
				return err
			}
			if newest < float64(until.UnixMilli())/1000 {
				return fmt.Errorf("the newest sample of %s is of %.3f", p.Name, newest)
			}
		}
		return nil
	})
	return until
}
