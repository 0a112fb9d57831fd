// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/e2e/lab"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// randomSeedVariable and randomQuestionsVariable say which questions are asked, and how many.
	randomSeedVariable      = "PENSTOCK_E2E_SEED"
	randomQuestionsVariable = "PENSTOCK_E2E_QUESTIONS"
	randomQuestions         = 500
	// randomMostFindings is how many are shown: one mistake makes many.
	randomMostFindings = 25
)

// random is a Prometheus and what is to answer as it does.
type random struct {
	*randomData
	prometheus harness.API
	sides      []harness.API
	victim     *harness.Node
	count      map[string]int
}

// TestRandomQueries asks a Prometheus server, a lone node, and a cluster that has the same data in blocks of a bucket, in blocks
// on disks and in heads, as they are, with holes in each copy, and twice as by an HA pair, questions that nobody thought of. Each answer
// is to be the same to the last bit, the first time and, from the cache, the second time; what need not be the same is listed with randomJudge.
// In the last third of the questions one member of the cluster is dead.
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
		if n == questions*2/3 {
			r.used(t)
			r.victim.Process.Kill() // Every sample has another copy, also where copies have holes.
		}
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

func startRandom(t *testing.T, seed uint64) *random {
	t.Helper()
	d := newRandomData(seed, time.Now().Truncate(time.Second))
	r := &random{randomData: d, count: map[string]int{}}

	older, younger := d.blocks(t, randomCopy{lack: -1})
	data := filepath.Join(harness.Dir(t), "data")
	link(t, data, older, younger)
	// It has the blocks that Penstock has, because lists of labels are those of whole blocks.
	r.prometheus = env.StartReceiverOn(t, data, "", "--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
	d.push(t, r.prometheus)

	data = filepath.Join(harness.Dir(t), "data")
	noError(t, lab.UsedSince(data, d.begin.Add(-time.Hour)))
	link(t, lab.TenantDir(data, lab.DefaultTenant), older, younger)
	lone := env.StartLoneNode(t, data, randomFlags...).API
	lone.Name = "lone node"
	d.push(t, lone)

	r.sides, r.victim = d.cluster(t, older, younger)
	r.sides = append(r.sides, lone)
	return r
}

// randomFlags: what is in blocks stays where it is.
var randomFlags = []string{"--web.cors.origin=.*", "--storage.retention.time=100d"}

// randomPair has the two Prometheus servers of a pair.
var randomPair = [][]string{{harness.ReplicaLabel, "a"}, {harness.ReplicaLabel, "b"}}

// cluster starts three nodes with three tenants and writes to them what is in no block. The third node is asked nothing itself.
func (d *randomData) cluster(t *testing.T, older, younger string) (sides []harness.API, victim *harness.Node) {
	t.Helper()
	config := "type: FILESYSTEM\nconfig:\n  directory: " + filepath.Join(harness.Dir(t), "bucket") + "\n"
	nodes := env.NewCluster(t, harness.ClusterConfig{
		Nodes: 3, ObjstoreFile: harness.WriteFile(t, harness.Dir(t), "objstore.yml", config), Flags: append([]string{"--no-compact.enabled"}, randomFlags...),
	})
	cfg, err := bucket.ParseConfig([]byte(config))
	noError(t, err)
	opened, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), nil)
	noError(t, err)
	blocks := bucket.NewBlocks(opened, nil)
	pairOlder, pairYounger := d.blocks(t, randomCopy{lack: -1, more: randomPair})
	upload(t, blocks, older, lab.DefaultTenant, nodes.Nodes[0].Name)
	upload(t, blocks, pairOlder, "pair", nodes.Nodes[1].Name)
	for i, node := range nodes.Nodes {
		noError(t, lab.UsedSince(node.DataDir, d.local))
		link(t, lab.TenantDir(node.DataDir, lab.DefaultTenant), younger)
		link(t, lab.TenantDir(node.DataDir, "pair"), pairYounger)
		holedOlder, holedYounger := d.blocks(t, randomCopy{lack: i})
		upload(t, blocks, holedOlder, "holes", node.Name)
		link(t, lab.TenantDir(node.DataDir, "holes"), holedYounger)
	}
	noError(t, opened.Close())
	nodes.Start()
	for i, tenant := range []string{"", "pair", "holes"} {
		side := nodes.Nodes[i%2].API
		side.Tenant, side.Name = tenant, []string{"cluster", "HA pair", "copies with holes"}[i]
		sides = append(sides, side)
	}
	d.push(t, sides[0])
	d.push(t, sides[1], randomPair...)
	d.push(t, sides[2])
	return sides, nodes.Nodes[2]
}

// same asks everybody one question, who is not Prometheus twice, and returns how many answers are wrong.
func (r *random) same(t *testing.T, n uint64, call randomCall) (wrong int) {
	t.Helper()
	judge := newRandomJudge(call, func() answer { return call.ask(t, r.prometheus) })
	for _, kind := range judge.kinds() {
		r.count[kind]++
	}
	for _, side := range r.sides {
		for _, time := range []string{"first", "second"} {
			diffs := judge.compare(call.ask(t, side))
			if len(diffs) == 0 {
				continue
			}
			wrong++
			t.Errorf("question %d, %s time, %s: %s\n\t%d differences, the first: %s", n, time, side.Name, call, len(diffs), diffs[0])
		}
	}
	r.count["asked Prometheus again"] += judge.again
	return wrong
}

// used wants everybody to have answered from what this is about.
func (r *random) used(t *testing.T) {
	t.Helper()
	for _, side := range r.sides {
		m, err := side.Metrics()
		noError(t, err)
		t.Logf("%s: %g splits", side.Name, m.Labelled("penstock_query_cache_queries_total", "way", "split"))
		for _, source := range []string{"store", "engine"} {
			n := m.Labelled("penstock_query_cache_steps_total", "source", source)
			t.Logf("%s: %g steps from the %s", side.Name, n, source)
			if n == 0 {
				t.Errorf("%s has answered nothing from the %s", side.Name, source)
			}
		}
	}
}

func (c randomCall) ask(t *testing.T, api harness.API) answer {
	t.Helper()
	if c.post && (c.path == "/query" || c.path == "/query_range" || c.path == "/series" || c.path == "/labels") {
		return ask(t, api, http.MethodPost, c.path, http.Header{"Content-Type": {formType}}, c.params.Encode())
	}
	return ask(t, api, http.MethodGet, fmt.Sprintf("%s?%s", c.path, c.params.Encode()), nil, "")
}
