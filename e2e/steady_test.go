// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
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

// steadyRequest has the samples of one batch of series.
func steadyRequest(batch, series int, at time.Time) *prompb.WriteRequest {
	req := &prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, 0, steadyBatch)}
	for i := range steadyBatch {
		n := (batch*steadyBatch + i) % series
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "death_total"},
				{Name: "cluster", Value: "eu-central-1"},
				{Name: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", n/256%256, n%256)},
				{Name: "pod", Value: fmt.Sprintf("aaaaaaaaaaaaaaaa-%d", n)},
			},
			Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: steadyValue(n, at)}},
		})
	}
	return req
}

// steadyValue differs between series, and from one scrape to the next.
func steadyValue(n int, at time.Time) float64 { return float64(n) + float64(at.UnixMilli()%1e6+1)/1e6 }

// write sends the samples of one batch of series at a time.
func (s *steady) write(batch int, at time.Time) (int, string, error) {
	raw, err := steadyRequest(batch, s.series, at).Marshal()
	if err != nil {
		return 0, "", err
	}
	resp, err := s.node.Post("/api/v1/write", harness.WriteHeader(), snappy.Encode(nil, raw))
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
}

// start has a process of its own write until the function that it returns is called. Senders are on other machines: what else the
// test does, such as reading the answers of queries, should not be measured with them, and neither should the wait for a core that is
// the node's there. So the process takes a core at once when it wants one, if the kernel allows that.
func (s *steady) start() (stop func()) {
	s.t.Helper()
	before := []string{"nice", "-n", "-20"}
	if exec.Command("chrt", "--fifo", "1", "true").Run() == nil {
		before = []string{"chrt", "--fifo", "1"}
	}
	cmd := exec.Command(before[0], append(before[1:], os.Args[0])...)
	cmd.Env = append(os.Environ(), senderVariable+"="+s.node.URL, senderSeriesVariable+"="+strconv.Itoa(s.series))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start a sender: %v", err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.sent(lines.Text())
		}
	})
	return sync.OnceFunc(func() {
		in.Close()
		reader.Wait()
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("the sender: %v", err)
		}
	})
}

// sent takes what the sender says of a request: how long it took, its status and, if it was not taken, why.
func (s *steady) sent(line string) {
	took, answer, _ := strings.Cut(line, " ")
	d, err := time.ParseDuration(took)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, d)
	if err != nil || answer != strconv.Itoa(http.StatusNoContent) {
		s.bad = append(s.bad, line)
	}
}

// The process of the sender is this program with these set: where to, and how many series.
const senderVariable, senderSeriesVariable = "PENSTOCK_E2E_SENDER", "PENSTOCK_E2E_SENDER_SERIES"

// send writes until nobody wants it any more, and returns the status to exit with. It computes next to nothing while it writes: on
// a machine with few cores that would be measured.
func send(url, series string) int {
	n, err := strconv.Atoi(series)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	batches := make([]*batch, n/steadyBatch)
	for i := range batches {
		if batches[i], err = newBatch(i, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	debug.SetGCPercent(1000)
	api := harness.API{Name: "node", URL: url}
	tick := time.NewTicker(steadyPause)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ended:
			return 0
		case <-tick.C:
		}
		body := batches[i%len(batches)].at(time.Now())
		start := time.Now()
		resp, err := api.Post("/api/v1/write", harness.WriteHeader(), body)
		took, answer := time.Since(start), strconv.Itoa(resp.Code)
		if err != nil || resp.Code != http.StatusNoContent {
			answer = fmt.Sprintf("%d: %.200q, %v", resp.Code, resp.Body, err)
		}
		fmt.Println(took, answer)
	}
}

// batch is a request that is encoded once, and sent with other samples each time.
type batch struct {
	first, series int
	body          []byte // In snappy's block format, with nothing compressed, so that samples can be replaced.
	timestamps    []int  // Where they are in the body, in the order of the series; the value is before it.
}

const (
	// placeholder takes as many bytes as the time of today: seven bits each.
	placeholder = 1 << 41
	// valueBefore is how far before a timestamp the value is: eight bytes, and the tag of the timestamp.
	valueBefore = 9
	// longLiteral is snappy's tag of a literal whose length is in the four bytes that follow.
	longLiteral = 63 << 2
)

func newBatch(n, series int) (*batch, error) {
	raw, err := steadyRequest(n, series, time.UnixMilli(placeholder)).Marshal()
	if err != nil {
		return nil, err
	}
	// https://github.com/google/snappy/blob/main/format_description.txt
	b := &batch{first: n * steadyBatch, series: series}
	b.body = append(binary.AppendUvarint(nil, uint64(len(raw))), longLiteral)
	b.body = append(binary.LittleEndian.AppendUint32(b.body, uint32(len(raw)-1)), raw...)
	timestamp := binary.AppendUvarint([]byte{2 << 3}, placeholder)
	for from := 0; ; {
		i := bytes.Index(b.body[from:], timestamp)
		if i < 0 {
			break
		}
		b.timestamps = append(b.timestamps, from+i+1)
		from += i + len(timestamp)
	}
	if len(b.timestamps) != steadyBatch {
		return nil, fmt.Errorf("%d timestamps in a request of %d", len(b.timestamps), steadyBatch)
	}
	return b, nil
}

// at returns the request with the samples of a time. It is valid until the next call.
func (b *batch) at(now time.Time) []byte {
	for i, at := range b.timestamps {
		binary.PutUvarint(b.body[at:], uint64(now.UnixMilli()))
		binary.LittleEndian.PutUint64(b.body[at-valueBefore:], math.Float64bits(steadyValue((b.first+i)%b.series, now)))
	}
	return b.body
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
