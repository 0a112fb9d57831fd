// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// randomSeedVariable and randomQuestionsVariable say which questions are asked, and how many.
	randomSeedVariable      = "PENSTOCK_E2E_SEED"
	randomQuestionsVariable = "PENSTOCK_E2E_QUESTIONS"
	randomQuestions         = 300
	// randomMostFindings is how many are shown: one mistake makes many.
	randomMostFindings = 25
)

// random is a Prometheus and what is to answer as it does.
type random struct {
	*randomData
	prometheus harness.API
	sides      []randomSide
	lone       *harness.Node
	nodes      []*harness.Node // The third one is asked nothing itself.
	count      map[string]int
	restarted  bool
}

// randomSide is a tenant of a node or a cluster.
type randomSide struct {
	harness.API
	more [][]string // What is added to the labels of series that are written to it.
}

// TestRandomQueries asks a Prometheus server, a lone node, and a cluster that has the same data in blocks of a bucket, in blocks
// on disks and in heads, as they are, with holes in each copy, and twice as by an HA pair, questions that nobody thought of. Each answer
// is to be the same to the last bit, the first time and, from the cache, the second time; what need not be the same is listed with randomJudge.
// Meanwhile things happen that nobody is to see: randomEvents.
func TestRandomQueries(t *testing.T) {
	seed, questions := rand.Uint64N(1e9), uint64(randomQuestions)
	for name, value := range map[string]*uint64{randomSeedVariable: &seed, randomQuestionsVariable: &questions} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			noError(t, err)
			*value = n
		}
	}
	t.Logf("%s=%d %s=%d asks the same again", randomSeedVariable, seed, randomQuestionsVariable, questions)
	r := startRandom(t, seed)
	calls := newRandomCalls(r.randomData, seed)
	begin, findings := time.Now(), 0
	for n := range questions {
		r.happens(t, n, questions)
		findings += r.same(t, n, calls.next())
		if findings >= randomMostFindings {
			t.Fatalf("stopped after %d questions: %d answers differ", n+1, findings)
		}
	}
	t.Logf("%d questions in %s: %v", questions, time.Since(begin).Round(time.Second), r.count)
	for _, what := range []string{"query refused", "query empty", "warnings", "infos", "histograms"} {
		if r.count[what] == 0 && questions >= randomQuestions {
			t.Errorf("no question had the answer %q: the questions are of one kind", what)
		}
	}
}

// same asks everybody one question, who is not Prometheus twice, and returns how many answers are wrong.
func (r *random) same(t *testing.T, n uint64, call randomCall) (wrong int) {
	t.Helper()
	if r.restarted && call.path == "/query_exemplars" {
		return 0
	}
	judge := newRandomJudge(call, func() answer { return call.ask(t, r.prometheus) })
	for _, kind := range judge.kinds() {
		r.count[kind]++
	}
	for _, side := range r.sides {
		for i, got := range askTwice(t, n, call, side.API) {
			if diffs := judge.compare(side.Name, got); len(diffs) > 0 {
				wrong++
				t.Errorf("question %d, answer %d, %s: %s\n\t%d differences, the first: %s", n, i+1, side.Name, call, len(diffs), diffs[0])
			}
		}
	}
	r.count["asked Prometheus again"] += judge.again
	return wrong
}

// askTwice asks one time after the other, or as many at once as users of a dashboard do.
func askTwice(t *testing.T, n uint64, call randomCall, side harness.API) []answer {
	t.Helper()
	answers := make([]answer, 2)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() { answers[i] = call.ask(t, side) })
		if n%4 != 0 {
			asking.Wait()
		}
	}
	asking.Wait()
	return answers
}
