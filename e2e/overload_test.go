// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// The one target of a limited sender has more series than its rate lets through in a second, and fewer than its burst.
	limitedSeries = 300
	limitedJob    = "limited"
	rateLimits    = "defaults: {ingestion_rate: 100, ingestion_burst_size: 400}\n"
	// A few batches fit, and what stalls does not leave room for one more.
	roomLimits  = "defaults: {max_inflight_bytes: 4MiB}\n"
	stalledBody = 4<<20 + 1
	noLimits    = "defaults: {}\n"
)

// limited is a real Prometheus server that sends to a node with limits.
type limited struct {
	t      *testing.T
	node   *harness.Node // asked as the tenant of the server
	server *harness.Prometheus
	limits string // path of the file
	from   time.Time
}

// eachLimited runs a test with a server that speaks remote write 1.0 and one that speaks 2.0, each with a node of its own.
func eachLimited(t *testing.T, limits string, dropOn429 bool, test func(l *limited)) {
	for _, replica := range []string{"a", "b"} {
		t.Run(replica, func(t *testing.T) {
			t.Parallel()
			dir := harness.Dir(t)
			l := &limited{t: t, from: time.Now(), limits: harness.WriteFile(t, dir, "limits.yml", limits)}
			l.node = env.StartLoneNode(t, filepath.Join(dir, "data"), "--limits.config-file="+l.limits, "--query.replica-label="+harness.ReplicaLabel)
			var text strings.Builder
			for i := range limitedSeries {
				fmt.Fprintf(&text, "e2e_limited{i=\"%d\"} %d\n", i, i)
			}
			l.server = env.StartPrometheus(t, harness.PrometheusConfig{
				Replica: replica, Addr: harness.Loopback(env.FreePort(t)), PushTo: l.node.Addr(), DropOn429: dropOn429,
				Jobs: []harness.ScrapeJob{{Name: limitedJob, Addrs: []string{harness.StartTextTarget(t, text.String())}}},
			})
			test(l)
		})
	}
}

// delivery is what both sides count, at about the same time.
type delivery struct {
	sent, failed, retried float64 // by the server; what is sent again is in retried and not in sent

	received, accepted, rejected, unavailable float64 // by the ledger, in samples
	again                                     float64 // by the ledger, in requests that were told to come again
	code429, code503                          float64 // by the node
	limited                                   float64 // by the node, for a limit of the tenant
}

func (l *limited) count() (d delivery, err error) {
	server, err := l.server.Metrics()
	if err != nil {
		return d, err
	}
	for sum, kind := range map[*float64]string{&d.sent: "", &d.failed: "_failed", &d.retried: "_retried"} {
		samples, err1 := server.Sum("prometheus_remote_storage_samples" + kind + "_total")
		histograms, err2 := server.Sum("prometheus_remote_storage_histograms" + kind + "_total")
		if err := errors.Join(err1, err2); err != nil {
			return d, err
		}
		*sum = samples + histograms
	}
	d.sent -= d.retried // The server counts every attempt.
	node, err := l.node.Metrics()
	if err != nil {
		return d, err
	}
	const requests = "penstock_ingest_requests_total"
	d.code429, d.code503 = node.Labelled(requests, "code", "429"), node.Labelled(requests, "code", "503")
	d.limited = node.Total("penstock_ingest_limited_total")
	rows, err := l.node.Senders()
	for _, r := range rows {
		d.received += r.Samples.Received
		d.accepted += r.Samples.Accepted
		d.rejected += r.Samples.Rejected
		d.unavailable += r.Samples.Unavailable
		d.again += r.Requests.Unavailable
	}
	return d, err
}

// until waits until the counters are as they should be. They go on while they are read, so that only what holds once is
// asked for.
func (l *limited) until(what string, holds func(d delivery) bool) (last delivery) {
	l.t.Helper()
	harness.Eventually(l.t, harness.Patience, what, func() error {
		var err error
		if last, err = l.count(); err == nil && !holds(last) {
			err = fmt.Errorf("%+v", last)
		}
		return err
	})
	return last
}

// TestRateLimitDrops: a Prometheus with its defaults drops what is over the rate of its tenant. It says so, in the very
// numbers in which the ledger says that nothing of it was promised.
func TestRateLimitDrops(t *testing.T) {
	eachLimited(t, rateLimits, true, func(l *limited) {
		d := l.until("sender, ledger and node agree on what was dropped", func(d delivery) bool {
			return d.failed >= 2*limitedSeries && d.accepted >= 2*limitedSeries && d.sent == d.received &&
				d.failed == d.unavailable && d.sent-d.failed == d.accepted && d.code429 == d.again && d.code429 == d.limited
		})
		if d.retried != 0 || d.rejected != 0 || d.code503 != 0 {
			t.Errorf("something else happened: %+v", d)
		}
		if log := l.server.Process.Log(); !strings.Contains(log, "429") || !strings.Contains(log, "ingestion rate limit of tenant") {
			t.Errorf("the log of the sender does not say why it dropped samples")
		}
	})
}

// TestRateLimitWaits: a Prometheus that retries on 429, as the deployed file has it, loses nothing once it may send more.
func TestRateLimitWaits(t *testing.T) {
	eachLimited(t, rateLimits, false, func(l *limited) {
		l.until("the sender has to wait", func(d delivery) bool { return d.retried > 0 && d.code429 == d.limited && d.limited >= 2 })
		l.over()
	})
}

// TestOverloadWaits: while another body of the tenant takes its room, writes are answered with 503. The sender waits, and
// loses nothing once there is room.
func TestOverloadWaits(t *testing.T) {
	eachLimited(t, roomLimits, true, func(l *limited) {
		l.until("something is accepted", func(d delivery) bool { return d.accepted > 0 && d.code503 == 0 })
		conn := l.stall()
		l.until("the sender has to wait", func(d delivery) bool { return d.retried > 0 && d.code503 >= 2 })
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		l.over()
	})
}

// stall begins a write that takes all of the tenant's room for as long as it is not closed; the node waits a minute.
func (l *limited) stall() net.Conn {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.node.Addr())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() }) // Closed before, where all is well.
	fmt.Fprintf(conn, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: %d\r\n\r\n", stalledBody+1)
	if _, err := conn.Write(make([]byte, stalledBody)); err != nil {
		l.t.Fatal(err)
	}
	return conn
}

// over lifts the limits: everything that was scraped is delivered, nothing is lost, and nobody is told to wait any more.
func (l *limited) over() {
	l.t.Helper()
	harness.WriteFile(l.t, filepath.Dir(l.limits), filepath.Base(l.limits), noLimits)
	if err := l.node.Reload(); err != nil {
		l.t.Fatal(err)
	}
	to := time.Now()
	want, err := l.server.Export(fmt.Sprintf("{job=%q}", limitedJob), l.from, to, harness.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	if n := want.Samples(); n < limitedSeries {
		l.t.Fatalf("the server has scraped %d samples", n)
	}
	replica := strings.TrimPrefix(l.server.Name, "prometheus-")
	harness.Eventually(l.t, harness.Patience, "everything that was scraped is stored", func() error {
		got, err := l.node.Export(fmt.Sprintf("{job=%q}", limitedJob), l.from, to, harness.Options{Dedup: "false"})
		if err != nil {
			return err
		}
		return want.With(replicaLabels(replica)).Equal(got)
	})
	after := l.until("sender and ledger agree that nothing is lost", func(d delivery) bool {
		return d.failed == 0 && d.sent == d.accepted && d.rejected == 0 && d.code429+d.code503 == d.again
	})
	more := l.until("the sender goes on", func(d delivery) bool { return d.accepted >= after.accepted+3*limitedSeries })
	if more.retried != after.retried || more.code429 != after.code429 || more.code503 != after.code503 {
		l.t.Errorf("the sender goes on to retry when it is over: %+v, then %+v", after, more)
	}
	if err := l.server.Lost(); err != nil {
		l.t.Error(err)
	}
}
