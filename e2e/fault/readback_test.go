// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// readTimeout bounds one question of the read-back.
	readTimeout = time.Minute
	// exportWindow is how much of the Prometheus servers is compared at once.
	exportWindow = 2 * time.Minute
)

// readBack compares everything: what both loads have a record of, and what both servers have stored themselves. It
// asks every member, with and without deduplication.
func (r *rig) readBack() {
	r.t.Helper()
	r.settle()
	r.repaired()
	r.stopWatch()
	r.watching.Wait()
	start := time.Now()
	reader := checker.NewReader(readTimeout)
	for _, l := range []*checker.Load{r.direct, r.proxied} {
		r.t.Logf("%s: %d requests of %d samples acknowledged, %d unknown, %d refused", l.Plan.Name,
			l.Record.Count(checker.Acked), l.Plan.Series, l.Record.Count(checker.Unknown), l.Record.Count(checker.Refused))
		for _, n := range r.cluster.Nodes {
			for _, dedup := range []bool{false, true} {
				f, err := l.ReadBack(l.Record.Ticks(), func(shard, from, to int) ([]checker.Found, error) {
					return reader.Read(context.Background(), target(n.API), l.Plan, shard, from, to, dedup)
				})
				r.judge(fmt.Sprintf("%s, asked of %s with dedup=%v", l.Plan.Name, n.Name, dedup), f, err)
			}
		}
	}
	r.serversEqual()
	r.t.Logf("read back in %s", time.Since(start).Round(time.Second))
}

// copiesComplete: with three members and three copies each member keeps itself everything that was acknowledged until
// a while ago: what it missed was delivered to it.
func (r *rig) copiesComplete() {
	r.t.Helper()
	ticks := r.direct.Record.Ticks()
	time.Sleep(2 * r.direct.Plan.Interval) // Nothing is waited for but what was under way.
	r.repaired()
	for _, l := range []*checker.Load{r.direct, r.proxied} {
		for _, n := range r.cluster.Nodes {
			f, err := l.ReadBack(ticks, func(shard, from, to int) ([]checker.Found, error) { return localRead(n, l.Plan, shard, from, to) })
			r.judge(fmt.Sprintf("%s, kept by %s itself", l.Plan.Name, n.Name), f, err)
		}
	}
}

func (r *rig) judge(what string, f checker.Findings, err error) {
	r.t.Helper()
	if err == nil {
		err = f.Err()
	}
	if err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
	if f.Acked == 0 {
		r.t.Errorf("%s: nothing was compared", what)
	}
	r.t.Logf("%s: %s", what, f)
}

// localRead is what one member keeps itself of a shard: with three members and three copies, everything.
func localRead(n *harness.Node, p checker.Plan, shard, from, to int) ([]checker.Found, error) {
	m, err := n.LocalExport(checker.PartLabel, p.Part(shard), time.UnixMilli(p.Time(from)-1), time.UnixMilli(p.Time(to-1)))
	if err != nil {
		return nil, err
	}
	var out []checker.Found
	for _, s := range m {
		f := checker.Found{Labels: s.Labels, Samples: make([]checker.Sample, len(s.Floats))}
		for i, text := range s.Floats {
			if err := json.Unmarshal([]byte(text), &f.Samples[i]); err != nil {
				return nil, err
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// serversEqual: every sample that the servers have is there, and nothing else.
func (r *rig) serversEqual() {
	r.t.Helper()
	to := time.Now()
	samples := 0
	for replica, server := range map[string]*harness.Prometheus{"a": r.a, "b": r.b} {
		labels := map[string]string{"cluster": "demo", harness.ReplicaLabel: replica}
		selector := fmt.Sprintf(`{job="target",%s=%q}`, harness.ReplicaLabel, replica)
		for from := r.from; from.Before(to); from = from.Add(exportWindow) {
			end := from.Add(min(exportWindow, to.Sub(from)))
			n := r.cluster.Nodes[samples%len(r.cluster.Nodes)]
			var want harness.Matrix
			// The newest samples may still be on their way.
			harness.Eventually(r.t, harness.Patience, n.Name+" has what "+server.Name+" has", func() error {
				var err error
				if want, err = server.Export(`{job="target"}`, from, end, harness.Options{}); err != nil {
					return err
				}
				got, err := n.Export(selector, from, end, harness.Options{Dedup: "false"})
				if err != nil {
					return err
				}
				return want.With(labels).Equal(got)
			})
			samples += want.Samples()
		}
	}
	r.t.Logf("both Prometheus servers: %d samples equal", samples)
	if samples == 0 {
		r.t.Error("nothing of the Prometheus servers was compared")
	}
}
