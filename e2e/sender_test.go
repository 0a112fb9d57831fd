// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// senders are real Prometheus servers by what becomes of what they send. Of each there is one that speaks remote write
// 1.0 and one that speaks 2.0.
type senders struct {
	t       *testing.T
	cluster *harness.Cluster
	proxy   *harness.Proxy
	from    time.Time

	good    []*harness.Prometheus // everything is accepted
	partial []*harness.Prometheus // one series of each scrape is refused
	refused []*harness.Prometheus // everything is refused
}

const badMetric = "e2e_too_long"

// TestSenders: for each thing that can become of a request, a sender's own counters say just that. It never sends again
// what was refused, never takes for lost what was stored, and loses nothing while nodes are away.
func TestSenders(t *testing.T) {
	s := startSenders(t)
	s.accepted()
	s.partly()
	s.rejected()
	s.nodeDown()
	s.overloaded()
}

func startSenders(t *testing.T) *senders {
	s := &senders{t: t, cluster: env.NewCluster(t, harness.ClusterConfig{Nodes: 3})}
	s.cluster.Start()
	s.proxy = env.StartHAProxy(t, harness.Loopback(env.FreePort(t)), s.cluster.Addresses())
	good := harness.ScrapeJob{Name: targetJob, Addrs: []string{harness.StartTarget(t, 1).Addr}}
	bad := harness.ScrapeJob{Name: "bad", Addrs: []string{
		harness.StartTextTarget(t, "e2e_beside 1\n"+badMetric+`{a="`+strings.Repeat("x", 5000)+`"} 1`+"\n"),
	}}
	start := func(headers map[string]string, jobs ...harness.ScrapeJob) (pair []*harness.Prometheus) {
		for _, replica := range []string{"a", "b"} {
			pair = append(pair, env.StartPrometheus(t, harness.PrometheusConfig{
				Replica: replica, Addr: harness.Loopback(env.FreePort(t)), PushTo: s.proxy.Addr(), Jobs: jobs, Headers: headers,
			}))
		}
		return pair
	}
	s.from = time.Now()
	s.good = start(nil, good)
	// A tenant of their own, because each pair has the same labels.
	s.partial = start(map[string]string{"X-Scope-OrgID": "partial"}, good, bad)
	s.refused = start(map[string]string{"X-Scope-OrgID": "no/tenant"}, good)
	return s
}

// accepted: nothing failed and nothing was sent twice.
func (s *senders) accepted() {
	s.t.Helper()
	for _, p := range s.good {
		s.sent(p, 500)
		s.noError(errors.Join(p.Lost(), retries(p, 0)))
	}
	s.complete()
}

// partly: of what a sender of 2.0 sends, exactly the bad series count as failed. One of 1.0 cannot know and counts whole
// batches, which are stored all the same. Neither sends anything again.
func (s *senders) partly() {
	s.t.Helper()
	for _, p := range s.partial {
		s.sent(p, 500)
		s.noError(retries(p, 0))
	}
	v2 := s.partial[1]
	harness.Eventually(s.t, harness.Patience, "as many samples failed as there are bad ones", func() error {
		failed, err := v2.Sum("prometheus_remote_storage_samples_failed_total")
		if err != nil {
			return err
		}
		resp, err := v2.Query("count_over_time("+badMetric+"[5m])", time.Now(), harness.Options{})
		if err != nil {
			return err
		}
		bad, err := resp.Scalar()
		if err == nil && (failed != bad || bad < 3) {
			err = fmt.Errorf("%g samples failed, %g are bad", failed, bad)
		}
		return err
	})
	for _, kind := range []string{"histograms", "exemplars", "metadata"} {
		failed, err := v2.Sum("prometheus_remote_storage_" + kind + "_failed_total")
		s.noError(errors.Join(err, zero(kind+" failed", failed)))
	}
	for _, p := range s.partial {
		if log := p.Process.Log(); !strings.Contains(log, badMetric) || !strings.Contains(log, "has 5000 bytes, limit 4096") {
			s.t.Errorf("the log of %s does not say which series was refused and why", p.Name)
		}
	}
	tenant := s.proxy.API
	tenant.Tenant = "partial"
	for _, replica := range []string{"a", "b"} {
		stored := func(metric string) float64 {
			resp, err := tenant.Query(fmt.Sprintf("count({__name__=%q,replica=%q}) or vector(0)", metric, replica), time.Now(), harness.Options{Dedup: "false"})
			s.noError(err)
			n, err := resp.Scalar()
			s.noError(err)
			return n
		}
		if beside, bad := stored("e2e_beside"), stored(badMetric); beside != 1 || bad != 0 {
			s.t.Errorf("replica %s: %g series beside the bad one are stored, want 1; %g of the bad one, want 0", replica, beside, bad)
		}
	}
}

// rejected: what will never be taken is dropped at once.
func (s *senders) rejected() {
	s.t.Helper()
	for _, p := range s.refused {
		harness.Eventually(s.t, harness.Patience, p.Name+" has given up what it sent", func() error {
			sent, err := p.Sum("prometheus_remote_storage_samples_total")
			if err != nil {
				return err
			}
			failed, err := p.Sum("prometheus_remote_storage_samples_failed_total")
			if err == nil && (failed < 100 || failed != sent) {
				err = fmt.Errorf("%g of %g samples failed", failed, sent)
			}
			return err
		})
		s.noError(retries(p, 0))
		if log := p.Process.Log(); !strings.Contains(log, "must match [A-Za-z0-9_-]{1,64}") {
			s.t.Errorf("the log of %s does not say why everything was refused", p.Name)
		}
	}
}

// nodeDown: one of three nodes dies, and no sender notices more than a broken connection.
func (s *senders) nodeDown() {
	s.t.Helper()
	s.cluster.Nodes[2].Process.Kill()
	before := time.Now()
	s.scrapedAfter(before.Add(outage / 2))
	s.complete()
	for _, p := range s.good {
		s.noError(p.Lost())
	}
}

// overloaded: without a quorum every write is answered with 503 and when to come back, as it is for overload. Senders
// wait so long, and lose nothing.
func (s *senders) overloaded() {
	s.t.Helper()
	s.cluster.Nodes[1].Process.Kill()
	left := s.cluster.Nodes[0]
	answers := func() float64 {
		m, err := left.Metrics()
		s.noError(err)
		return m.Labelled("penstock_ingest_requests_total", "code", "503")
	}
	for _, p := range s.good {
		harness.Eventually(s.t, harness.Patience, p.Name+" has to send again", func() error {
			if n := p.Retried(); n == 0 {
				return errors.New("nothing was sent again")
			}
			return nil
		})
	}
	const window = 6 * time.Second
	before := answers()
	time.Sleep(window) // Nothing is waited for: this is over what the answers are counted.
	// Two seconds is the least that an answer asks for. Samples and metadata of four senders are on their way.
	most := 2 * float64(len(s.good)+len(s.partial)) * (window.Seconds()/2 + 1)
	if n := answers() - before; n == 0 || n > most {
		s.t.Errorf("%g writes were answered with 503 in %s, want 1 to %g", n, window, most)
	}
	for _, n := range s.cluster.Nodes[1:] {
		n.Start()
	}
	for _, n := range s.cluster.Nodes[1:] {
		n.WaitReady()
	}
	s.cluster.WaitWhole(rejoinWithin)
	s.scrapedAfter(time.Now())
	s.complete()
	for _, p := range s.good {
		s.noError(p.Lost())
		if log := p.Process.Log(); strings.Contains(log, "some data was not written") {
			s.t.Errorf("%s believes that a 2xx has lost data:\n%s", p.Name, log)
		}
	}
}

// sent waits until a server has sent at least so many samples.
func (s *senders) sent(p *harness.Prometheus, samples float64) {
	s.t.Helper()
	harness.Eventually(s.t, harness.Patience, p.Name+" has sent samples", func() error {
		n, err := p.Sum("prometheus_remote_storage_samples_total")
		if err == nil && n < samples {
			err = fmt.Errorf("%g samples", n)
		}
		return err
	})
}

// scrapedAfter waits until the good servers have samples of a time.
func (s *senders) scrapedAfter(at time.Time) {
	s.t.Helper()
	for _, p := range s.good {
		harness.Eventually(s.t, time.Until(at)+harness.Patience, p.Name+" goes on scraping", func() error {
			resp, err := p.Query(fmt.Sprintf("min(timestamp(up{job=%q}))", targetJob), time.Now(), harness.Options{})
			if err != nil {
				return err
			}
			newest, err := resp.Scalar()
			if err == nil && newest < float64(at.UnixMilli())/1000 {
				err = fmt.Errorf("the newest sample is of %.3f", newest)
			}
			return err
		})
	}
}

// complete waits until everything that the good servers have scraped until now is stored, sample by sample.
func (s *senders) complete() {
	s.t.Helper()
	to := time.Now()
	for i, p := range s.good {
		replica := []string{"a", "b"}[i]
		want, err := p.Export(fmt.Sprintf("{job=%q}", targetJob), s.from, to, harness.Options{})
		s.noError(err)
		if want.Samples() == 0 {
			s.t.Fatalf("%s has no samples", p.Name)
		}
		harness.Eventually(s.t, harness.Patience, "everything of "+p.Name+" is stored", func() error {
			got, err := s.proxy.Export(fmt.Sprintf("{job=%q,replica=%q}", targetJob, replica), s.from, to, harness.Options{Dedup: "false"})
			if err != nil {
				return err
			}
			return want.With(replicaLabels(replica)).Equal(got)
		})
	}
}

func (s *senders) noError(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// retries is nil when a server has sent so many items again.
func retries(p *harness.Prometheus, want float64) error {
	if n := p.Retried(); n != want {
		return fmt.Errorf("%s has sent %g items again, want %g", p.Name, n, want)
	}
	return nil
}
