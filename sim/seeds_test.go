// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many seeds TestSeeds plays; 0: 2000, or 200 with -short")
	firstFlag = flag.Uint64("first", 1, "the first seed of TestSeeds")
	oneFlag   = flag.Uint64("seed", 0, "play this seed alone, on one processor, and log what happens")
)

const (
	seedsDefault = 2000
	seedsShort   = 200
	// failuresMax is how many seeds may fail before the rest is not worth its time.
	failuresMax = 5
)

// play runs one seed in a bubble of its own.
func play(t *testing.T, p plan, safe safety) (res result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { res = run(t, p, safe) })
	return res
}

// TestSeeds plays many seeds. Whatever a seed brings, no promise may be broken.
func TestSeeds(t *testing.T) {
	if *oneFlag != 0 {
		t.Skip("one seed is asked for")
	}
	count := *seedsFlag
	if count == 0 {
		count = seedsDefault
		if testing.Short() {
			count = seedsShort
		}
	}
	var next, played, acked, failures atomic.Int64
	started := time.Now()
	totals := newTotals()
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= int64(count) || failures.Load() >= failuresMax {
					return
				}
				played.Add(1)
				s := seed(*firstFlag + uint64(n)) //nolint:gosec // Not negative.
				res := play(t, newPlan(s), safety{})
				acked.Add(int64(res.acked))
				totals.add(res)
				if len(res.violations) > 0 {
					failures.Add(1)
					t.Error(report(res))
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(started)
	t.Logf("%d seeds in %s (%.0f a second), %d samples acknowledged", played.Load(), took.Round(time.Millisecond), float64(played.Load())/took.Seconds(), acked.Load())
	t.Log(totals)
}

// TestSeed plays one seed again.
func TestSeed(t *testing.T) {
	if *oneFlag == 0 {
		t.Skip("no -seed given")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	res := play(t, newPlan(seed(*oneFlag)), safety{})
	t.Log(report(res))
	if len(res.violations) > 0 {
		t.Fail()
	}
}

// report says what broke and how it came to that.
func report(res result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: play it again with: go test ./sim -run 'TestSeed$' -seed=%d -v\n%s\n", res.plan.seed, res.plan.seed, &res.plan)
	b.WriteString(res.events.String())
	for i, v := range res.violations {
		if i == 10 {
			fmt.Fprintf(&b, "\n... and %d more", len(res.violations)-i)
			break
		}
		fmt.Fprintf(&b, "\nVIOLATION %s", v)
	}
	return b.String()
}

// totals are what all seeds together came through.
type totals struct {
	mu          sync.Mutex
	hits, kills map[string]int
}

func newTotals() *totals { return &totals{hits: map[string]int{}, kills: map[string]int{}} }

func (t *totals) add(res result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for point, n := range res.events.hits {
		t.hits[point] += n
	}
	for point, n := range res.events.kills {
		t.kills[point] += n
	}
}

func (t *totals) String() string {
	var b strings.Builder
	b.WriteString("crash points, deaths of passes:")
	for _, point := range crashPoints {
		fmt.Fprintf(&b, " %s %d/%d;", point, t.kills[point], t.hits[point])
	}
	return b.String()
}
