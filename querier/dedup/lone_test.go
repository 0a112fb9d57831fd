// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

var (
	seeds = flag.Uint64("seeds", 500, "scenes that TestLonePrometheus plays")
	first = flag.Uint64("first", 0, "the seed of the first of them")
)

// TestLonePrometheus holds the answers of the whole read path, from the engine through dedup and the
// fan-out to TSDBs with holes, against those of one Prometheus that was never down. `make dedup` plays
// many more seeds.
func TestLonePrometheus(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 0, 1_000_000)
	compared := map[string]int{}
	failed := 0
	for from := *first; from < *first+*seeds; {
		group := from / scenesTogether
		to := min(*first+*seeds, (group+1)*scenesTogether)
		t.Run(fmt.Sprintf("%d to %d", from, to-1), func(t *testing.T) {
			j := judgeGroup(t, engine, group, from, to, nil)
			for what, n := range j.compared {
				compared[what] += n
			}
			report(t, j)
			failed += len(j.broken)
		})
		from = to
		if failed > 20 {
			t.Fatal("and so on")
		}
	}
	if *seeds < 100 {
		return // too few to tell
	}
	for what, least := range map[string]int{
		"absent": 1, "count_over_time": 5, "distance": 50, "histogram_quantile": 2, "increase": 4, "resets": 4, "sum": 20,
	} {
		require.Greater(t, compared[what], least*int(*seeds), "hardly any %s was compared", what)
	}
	for _, what := range slices.Sorted(maps.Keys(compared)) {
		t.Logf("%s: %d compared", what, compared[what])
	}
}

func report(t *testing.T, j *judgement) {
	t.Helper()
	shown := map[string]bool{}
	for _, line := range j.broken {
		seed, _, _ := strings.Cut(strings.TrimPrefix(line, "seed "), ":")
		t.Error(line)
		if !shown[seed] {
			var n uint64
			_, err := fmt.Sscan(seed, &n)
			require.NoError(t, err)
			t.Logf("seed %d is %s\nto play it again: go test ./querier/dedup -run TestLonePrometheus -seeds=1 -first=%d", n, newScene(n), n)
		}
		shown[seed] = true
	}
}

// judgeGroup plays seeds that are stored together: before and after what is late has come. The view of the replicas
// is another one if change is given.
func judgeGroup(t testing.TB, engine *promql.Engine, group, from, to uint64, change func(storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable) *judgement {
	t.Helper()
	s := newSite(t, group)
	j := &judgement{engine: engine, lone: s.lone, replicas: Queryable(s.fanout, byReplica), compared: map[string]int{}}
	if change != nil {
		j.replicas = change(s.fanout)
	}
	var scenes []*scene
	for seed := from; seed < to; seed++ {
		scenes = append(scenes, newScene(seed))
	}
	for _, sc := range scenes {
		s.store(sc)
	}
	s.cut()
	for _, sc := range scenes {
		j.judge(sc)
	}
	for i, sc := range scenes {
		if sc.lags() {
			s.storeLate(sc)
			scenes[i] = sc.caughtUp()
			j.judge(scenes[i])
		}
	}
	return j
}

// TestLonePrometheusNotices: a rule with one of its parts switched off does not pass for the rule.
func TestLonePrometheusNotices(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 0, 1_000_000)
	changed := func(change func(*rule)) func(storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable {
		return func(q storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable {
			r := newRule(0)
			change(&r)
			return &queryable{inner: q, names: byReplica.ReplicaLabels, rule: r}
		}
	}
	for _, off := range []struct {
		name   string
		change func(storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable
		want   string
	}{
		{"all samples of all replicas", changed(func(r *rule) { r.bridge = 0 }), "apart, less than"},
		{"no guards", changed(func(r *rule) { r.guarded = 0 }), "apart, less than"},
		{"guards of a whole distance", changed(func(r *rule) { r.guarded = 100 }), "apart, more than"},
		{"no skew", changed(func(r *rule) { r.skew = 0 }), "falls from"},
		{"no margin", changed(func(r *rule) { r.margin = 0 }), "of the whole range"},
		{"no dedup", func(q storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable {
			return Queryable(q, Config{})
		}, "the answer has"},
	} {
		t.Run(off.name, func(t *testing.T) {
			broken := judgeGroup(t, engine, 0, 0, scenesTogether, off.change).broken
			require.True(t, slices.ContainsFunc(broken, func(line string) bool { return strings.Contains(line, off.want) }),
				"nothing of %q is noticed, but %d other things", off.want, len(broken))
		})
	}
}
