// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	millionSeries = 1_000_000
	// A node in a container of 4 GiB tells its runtime of nine tenths. What the kernel would end the process at is the whole.
	millionMemory = "3686MiB"
	millionRSS    = 4 << 30
	millionWithin = 15 * time.Minute // To write them.
	millionAnswer = 5 * time.Minute  // Longer than a query may take.
)

// TestMillionSeries: a topk over a million series, and others like it, have an answer or end in a limit, and do not take a node
// with 4 GiB down. Of ten at a time each does so, too; what the node takes meanwhile is reported (DESIGN.md, "Not there yet"). It takes minutes: PENSTOCK_E2E_MILLION=1 turns it on.
func TestMillionSeries(t *testing.T) {
	if os.Getenv("PENSTOCK_E2E_MILLION") == "" {
		t.Skip("PENSTOCK_E2E_MILLION is not set")
	}
	t.Setenv("GOMEMLIMIT", millionMemory)
	node := env.StartLoneNode(t, filepath.Join(harness.Dir(t), "data"))
	code, out := env.RunPenstockWithin(t, millionWithin, "loadgen", "send", "--url="+node.URL+"/api/v1/write", fmt.Sprintf("--series=%d", millionSeries), "--ticks=4")
	if code != 0 {
		t.Fatalf("loadgen: %s", out)
	}
	t.Logf("written: %d MiB", rssAnon(t, node.Process)>>20)
	stop := make(chan struct{})
	var peak atomic.Int64
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				peak.Store(max(peak.Load(), rssAnon(t, node.Process)))
			}
		}
	})
	now := time.Now()
	queries := []string{
		`topk(10, {__name__=~".+"})`,
		`topk by (__name__) (10, {__name__=~".+"})`,
		`{__name__=~".+"}`,
		`{__name__=~".+"}[1h]`,
		`count_values("v", {__name__=~".+"})`,
	}
	ask := func(query string) {
		start := time.Now()
		form := url.Values{"query": {query}, "time": {now.Format(time.RFC3339)}}
		resp, err := (&http.Client{Timeout: millionAnswer}).Get(node.URL + "/api/v1/query?" + form.Encode())
		if err != nil {
			t.Errorf("%s: %v", query, err)
			return
		}
		defer resp.Body.Close()
		head, err := io.ReadAll(io.LimitReader(resp.Body, 300))
		rest, err2 := io.Copy(io.Discard, resp.Body)
		what := fmt.Sprintf("%s: status %d after %s, %d MiB", query, resp.StatusCode, time.Since(start).Round(10*time.Millisecond), (int64(len(head))+rest)>>20)
		if resp.StatusCode != http.StatusOK {
			what += ": " + string(head)
			if text := string(head); !strings.Contains(text, "limit is") && !strings.Contains(text, "is the limit") && !strings.Contains(text, "short of memory") && !strings.Contains(text, "no memory for its answer") {
				t.Errorf("%s: this is no limit", what)
			}
		}
		t.Log(what, err, err2)
	}
	for _, q := range queries {
		ask(q)
	}
	alone := peak.Load()
	t.Logf("at most, one at a time: %d MiB", alone>>20)
	if alone > millionRSS {
		t.Errorf("the node had %d MiB, more than %d", alone>>20, millionRSS>>20)
	}
	var together sync.WaitGroup
	for _, q := range slices.Concat(queries, queries) {
		together.Go(func() { ask(q) })
	}
	together.Wait()
	close(stop)
	sampler.Wait()
	t.Logf("at most, ten at a time: %d MiB, and %d with the pages of files, which the kernel takes back", peak.Load()>>20, peakRSS(t, node.Process)>>20)
	if node.Process.Ended() {
		t.Error("the node has ended")
	}
}
