// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/penstock-io/penstock/e2e/harness"
)

// steady is a sender that writes all the time, a part of its series with each request, and measures how long each takes.
type steady struct {
	t      *testing.T
	node   *harness.Node
	series int

	mu    sync.Mutex
	times []time.Duration // Of requests since the last call of taken.
	bad   []string        // Answers that are not 204.
}

const (
	steadyBatch = 1000                  // Samples of a request.
	steadyPause = 20 * time.Millisecond // Between two requests.
)

// write sends the samples of one batch of series at a time.
func (s *steady) write(batch int, at time.Time) (int, string, error) {
	req := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, 0, steadyBatch)}
	for i := range steadyBatch {
		n := (batch*steadyBatch + i) % s.series
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "death_total"},
				{Name: "cluster", Value: "eu-central-1"},
				{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", n/256%256, n%256)},
				{Name: "pod", Value: fmt.Sprintf("aaaaaaaaaaaaaaaa-%d", n)},
			},
			Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: float64(n) + float64(at.UnixMilli()%1e6)/1e6}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		return 0, "", err
	}
	body := snappy.Encode(nil, raw)
	start := time.Now()
	resp, err := s.node.Post("/api/v1/write", harness.WriteHeader(), body)
	s.mu.Lock()
	s.times = append(s.times, time.Since(start))
	s.mu.Unlock()
	return resp.Code, resp.Body, err
}

// fill writes a number of scrapes of all series, the last one now.
func (s *steady) fill(scrapes int, interval time.Duration) {
	s.t.Helper()
	now := time.Now()
	for i := range scrapes {
		for batch := range s.series / steadyBatch {
			code, body, err := s.write(batch, now.Add(-time.Duration(scrapes-1-i)*interval))
			if err != nil || code != http.StatusNoContent {
				s.t.Fatalf("write: status %d: %s, %v", code, body, err)
			}
		}
	}
	s.taken()
}

// run writes until stop is closed.
func (s *steady) run(stop <-chan struct{}) {
	tick := time.NewTicker(steadyPause)
	defer tick.Stop()
	for batch := 0; ; batch++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if code, body, err := s.write(batch, time.Now()); err != nil || code != http.StatusNoContent {
			s.mu.Lock()
			s.bad = append(s.bad, fmt.Sprintf("status %d: %.200s, %v", code, body, err))
			s.mu.Unlock()
		}
	}
}

// latencies are those of some requests.
type latencies struct {
	n             int
	p50, p99, max time.Duration
}

// taken returns the times since it was called last.
func (s *steady) taken() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.times
	s.times = nil
	return all
}

func latenciesOf(all []time.Duration) latencies {
	if len(all) == 0 {
		return latencies{}
	}
	slices.Sort(all)
	return latencies{n: len(all), p50: all[len(all)/2], p99: all[len(all)*99/100], max: all[len(all)-1]}
}

func (l latencies) String() string {
	return fmt.Sprintf("%d writes, p50 %s, p99 %s, max %s", l.n, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond), l.max.Round(10*time.Microsecond))
}

// peakRSS is the most memory that a process has had at a time, in bytes, pages of files included.
func peakRSS(t *testing.T, p *harness.Process) int64 { t.Helper(); return memoryOf(t, p, "VmHWM:") }

// rssAnon is the memory that a process has now and that the kernel cannot take back.
func rssAnon(t *testing.T, p *harness.Process) int64 { t.Helper(); return memoryOf(t, p, "RssAnon:") }

func memoryOf(t *testing.T, p *harness.Process, line string) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Errorf("cannot tell how much memory a process has: %v", err)
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), line); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Error(err)
			}
			return kib << 10
		}
	}
	t.Errorf("the kernel does not say %s", line)
	return 0
}
