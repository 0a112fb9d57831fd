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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	millionSeries = 1_000_000
	millionRSS    = 4 << 30 // What the kernel would end the process at. With other numbers of series it is as much for each.
	// A node in a container tells its runtime of so much of what that may have.
	millionShare  = 0.9
	millionWithin = 15 * time.Minute // To write them.
	millionAnswer = 5 * time.Minute  // Longer than a query may take.
	millionRounds = 3                // Of ten at a time.
)

// TestMillionSeries: a topk over a million series, and others like it, have an answer or end in a limit, and do not take more than a node
// with 4 GiB has, one at a time or ten. Of ten all that have an answer alone have one, but for what takes too long then.
// It takes minutes: PENSTOCK_E2E_MILLION=1000000 turns it on.
func TestMillionSeries(t *testing.T) {
	if os.Getenv("PENSTOCK_E2E_MILLION") == "" {
		t.Skip("PENSTOCK_E2E_MILLION is not set")
	}
	many, err := strconv.ParseInt(os.Getenv("PENSTOCK_E2E_MILLION"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	most := millionRSS / millionSeries * many
	t.Setenv("GOMEMLIMIT", fmt.Sprint(int64(millionShare*float64(most))))
	node := env.StartLoneNode(t, filepath.Join(harness.Dir(t), "data"))
	code, out := env.RunPenstockWithin(t, millionWithin, "loadgen", "send", "--url="+node.URL+"/api/v1/write", fmt.Sprintf("--series=%d", many), "--ticks=4")
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
	ask := func(query string) (status int) {
		start := time.Now()
		form := url.Values{"query": {query}, "time": {now.Format(time.RFC3339)}}
		resp, err := (&http.Client{Timeout: millionAnswer}).Get(node.URL + "/api/v1/query?" + form.Encode())
		if err != nil {
			t.Errorf("%s: %v", query, err)
			return 0
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
		return resp.StatusCode
	}
	answered := map[string]bool{} // Alone.
	for _, q := range queries {
		answered[q] = ask(q) == http.StatusOK
	}
	alone := peak.Load()
	t.Logf("at most, one at a time: %d MiB", alone>>20)
	if alone > most {
		t.Errorf("the node had %d MiB, more than %d", alone>>20, most>>20)
	}
	for range millionRounds {
		var good, want atomic.Int64
		var together sync.WaitGroup
		start := time.Now()
		for _, q := range slices.Concat(queries, queries) {
			together.Go(func() {
				status := ask(q)
				if !answered[q] {
					return
				}
				want.Add(1)
				switch status {
				case http.StatusOK:
					good.Add(1)
				case http.StatusUnprocessableEntity:
					t.Errorf("%s has an answer alone", q)
				}
			})
		}
		together.Wait()
		rss := peakRSS(t, node.Process)
		t.Logf("ten at a time: %d of the %d that have an answer alone have one, after %s; until now at most %d MiB, and %d with the pages of files, which the kernel takes back",
			good.Load(), want.Load(), time.Since(start).Round(time.Second), peak.Load()>>20, rss>>20)
		if rss > most {
			t.Errorf("the node had %d MiB, more than %d", rss>>20, most>>20)
		}
	}
	close(stop)
	sampler.Wait()
	if node.Process.Ended() {
		t.Error("the node has ended")
	}
}
