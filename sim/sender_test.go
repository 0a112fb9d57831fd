// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// As Prometheus has them.
const (
	senderTimeout    = 30 * time.Second
	senderBackoffMin = 30 * time.Millisecond
	senderBackoffMax = 5 * time.Second
)

// sender is one shard of one Prometheus of the HA pair. It sends a request at a time,
// the same bytes again after a 5xx, a timeout or a broken connection, through any member
// as a load balancer does, and nothing again after a 2xx or 4xx.
type sender struct {
	w       *world
	replica string
	shard   int
	series  []string
	v2      bool
	queue   chan request
}

type request struct {
	body    []byte
	samples []sampleID
}

// scrape makes a sample of each series at every interval until the time is over, and
// queues them. It never waits for the network, as Prometheus' WAL does not.
func (s *sender) scrape(until time.Time) {
	defer close(s.queue)
	phase := time.Duration(s.w.plan.seed.hash("scrape", s.replica) % uint64(s.w.plan.interval))
	for s.w.sleep(phase) && time.Now().Before(until) {
		phase = s.w.plan.interval
		s.queue <- s.encode(time.Now().UnixMilli())
	}
}

func (s *sender) encode(t int64) request {
	var req request
	var v1 prompb.WriteRequest
	v2 := writev2.Request{Symbols: []string{""}}
	symbol := func(text string) uint32 {
		v2.Symbols = append(v2.Symbols, text)
		return uint32(len(v2.Symbols) - 1) //nolint:gosec // A few.
	}
	for _, name := range s.series {
		v, n := s.w.ledger.make(labelText(s.replica, name), t)
		req.samples = append(req.samples, sampleID{labelText(s.replica, name), n})
		pairs := [][2]string{{"__name__", "sim"}, {replicaLabel, s.replica}, {"s", name}}
		var ls []prompb.Label
		var refs []uint32
		for _, p := range pairs {
			ls = append(ls, prompb.Label{Name: p[0], Value: p[1]})
			if s.v2 {
				refs = append(refs, symbol(p[0]), symbol(p[1]))
			}
		}
		v1.Timeseries = append(v1.Timeseries, prompb.TimeSeries{Labels: ls, Samples: []prompb.Sample{{Timestamp: t, Value: v}}})
		v2.Timeseries = append(v2.Timeseries, writev2.TimeSeries{LabelsRefs: refs, Samples: []writev2.Sample{{Timestamp: t, Value: v}}})
	}
	raw, err := v1.Marshal()
	if s.v2 {
		raw, err = v2.Marshal()
	}
	if err != nil {
		panic(err)
	}
	req.body = snappy.Encode(nil, raw)
	return req
}

// labelText is how Prometheus writes the labels of a series.
func labelText(replica, name string) string {
	return fmt.Sprintf("{__name__=%q, %s=%q, s=%q}", "sim", replicaLabel, replica, name)
}

// send delivers what is queued until the queue ends.
func (s *sender) send() {
	for req := range s.queue {
		backoff := senderBackoffMin
		for attempt := 0; ; attempt++ {
			status, text, member := s.attempt(req, attempt)
			s.w.events.detail("  %s answers %d to request %d of %s/%d: %.80s", member, status, req.samples[0].n, s.replica, s.shard, text)
			if status/100 == 2 {
				s.w.noteAck(member, req)
				break
			}
			if status/100 == 4 {
				s.w.violate(noRefusal, "%s answered %d to sender %s: %s", member, status, s.replica, text)
				break
			}
			if !s.w.sleep(backoff) {
				return
			}
			backoff = min(2*backoff, senderBackoffMax)
		}
	}
}

// attempt sends a request once. Status 0 is no answer.
func (s *sender) attempt(req request, attempt int) (status int, text, member string) {
	hosts := s.w.allHosts()
	h := hosts[s.w.plan.seed.hash("balance", s.replica, s.shard, time.Now(), attempt)%uint64(len(hosts))]
	ctx, cancel := context.WithTimeout(s.w.ctx, senderTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.name+".any"+pathWrite, bytes.NewReader(req.body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("Content-Type", "application/x-protobuf")
	if s.v2 {
		r.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	}
	outside := endpoint{name: "sender-" + s.replica, gate: func() error { return nil }}
	resp, err := s.w.exchange(ctx, outside, r.URL.Host, r)
	if err != nil {
		return 0, err.Error(), h.name
	}
	body, _ := io.ReadAll(resp.Body) // Only for the log.
	return resp.StatusCode, string(body), h.name
}
