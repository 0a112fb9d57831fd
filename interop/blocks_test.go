// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	common "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

const receiveReplica = "receive_replica"

var (
	// wholeMetrics are those of a world of which each copy has all samples.
	wholeMetrics = []string{"counter_total", "gauge", "latency", "sizes", "temperature", "flapping"}
	allMetrics   = []string{"counter_total", "gauge", "latency", "sizes", "temperature", "flapping", "lacking_total"}
)

// samplesOf asks for the samples themselves at the end of each stretch, and in the middle of the first.
func samplesOf(w *world, metrics ...string) (all []question) {
	for i, in := range w.stretches {
		ends := []time.Time{in.until}
		if i == 0 {
			ends = append(ends, in.from.Add(2*day), in.from.Add(2*day+7*time.Hour+30*time.Second))
		}
		for _, end := range ends {
			for _, name := range metrics {
				all = append(all, question{expr: name + "[1d]", start: end.Add(-day), end: end})
			}
		}
	}
	return all
}

// rawQuestions go through PromQL. The engines are of two versions of Prometheus, which may add up in another order.
func rawQuestions(w *world) (all []question) {
	end := w.stretches[0].until
	for _, expr := range []string{
		`gauge`, `flapping`, `sum by (job) (rate(counter_total[5m]))`, `increase(counter_total{instance="host-1"}[1h])`,
		`histogram_quantile(0.9, sum(rate(latency[10m])))`, `histogram_fraction(0, 15, rate(sizes[10m]))`,
		`histogram_count(sum(temperature))`, `count({job="interop",__name__!~"lacking.*"})`, `avg_over_time(gauge[3h])`,
	} {
		all = append(all, question{expr: expr, start: end.Add(-3 * day), end: end, step: 13 * time.Minute, near: 1e-12})
	}
	return all
}

// coarseQuestions are those of which both promise the same of downsampled blocks, over ranges of so many windows.
//
// Counters may be apart by one window. PromQL does not extrapolate a counter to below 0, and the two yield counters that differ
// by a constant: Thanos' begin at what was shown, Penstock's end at it. So the one step of a series at which Penstock's passes 0
// is a window short.
func coarseQuestions(w *world, resolution time.Duration) (all []question) {
	const windows, rounding = 72, 1e-9
	end, span := w.stretches[0].until, common.Duration(windows*resolution)
	for expr, near := range map[string]float64{
		`gauge`: rounding, `max(gauge)`: rounding, `min(gauge)`: rounding, `histogram_count(temperature)`: rounding,
		`avg_over_time(gauge[%s])`: rounding, `min_over_time(gauge[%s])`: rounding, `max_over_time(gauge[%s])`: rounding,
		`sum_over_time(gauge[%s])`: rounding, `avg_over_time(flapping[%s])`: rounding,
		`histogram_quantile(0.9, sum(rate(latency[%s])))`: rounding, `histogram_count(increase(latency[%s]))`: rounding,
		`histogram_sum(increase(sizes[%s]))`: rounding, `histogram_quantile(0.5, sum(rate(sizes[%s])))`: rounding,
		`increase(counter_total[%s])`: 1.0 / (windows - 1), `sum by (job) (rate(counter_total[%s]))`: 1.0 / (windows - 1),
	} {
		all = append(all, question{
			expr: strings.ReplaceAll(expr, "%s", span.String()), start: end.Add(-8 * day), end: end.Add(-6 * time.Hour), step: time.Hour,
			resolution: resolution, near: near,
		})
	}
	return all
}

// asker is one of the two.
type asker interface{ ask(question) answer }

// agree asks both all questions.
func agree(t *testing.T, what string, got, want asker, questions []question) {
	t.Helper()
	values, furthest := 0, 0.0
	for _, q := range questions {
		n, off := sameAnswer(t, q, got.ask(q), want.ask(q))
		values += n
		furthest = max(furthest, off)
	}
	t.Logf("%s: %d questions, %d values, the furthest relatively %.2g apart", what, len(questions), values, furthest)
}

// ask makes the world an asker for selectors.
func (w *world) ask(q question) answer {
	return w.truth(q.expr[:len(q.expr)-len("[1d]")], q.start, q.end)
}

// gateway starts a node that has nothing itself and reads the bucket.
func gateway(t *testing.T, dir string) *node {
	t.Helper()
	return startNode(t, "gateway", dir, "--no-compact.enabled")
}

// copyOf copies a bucket.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "bucket")
	noError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// TestThanosReadsPenstock: three members write what they were sent, each a copy that lacks something. Thanos finds nothing wrong
// with their blocks, merges and downsamples them, goes on with those that Penstock merged and downsampled, and answers as
// Penstock does.
func TestThanosReadsPenstock(t *testing.T) {
	// Two windows of 14 days that Thanos can make one of 56, and two later ones that make the first old enough for it.
	length := int64(56 * day / time.Second)
	begin := time.Unix((time.Now().Unix()-int64(73*day/time.Second))/length*length, 0)
	w := newWorld(begin, map[int]time.Duration{0: 11 * day, 14: 2 * day, 56: 2 * day, 70: 2 * day}, 0, 14, 56, 70)
	uploaded := t.TempDir()
	for member := range copies {
		n := startNode(t, "member-"+strconv.Itoa(member), uploaded, "--no-compact.enabled")
		n.take(w, member)
		n.stop()
	}
	original := gateway(t, uploaded)
	agree(t, "Penstock over its uploads, and what was sent", original, w, samplesOf(w, allMetrics...))

	t.Run("uploads", func(t *testing.T) {
		b := openThanos(t, uploaded)
		t.Logf("%d blocks are sound", len(b.verify()))
		// Thanos' querier takes turns between copies that lack something: only what each has is answered exactly.
		q := b.querier(receiveReplica)
		agree(t, "samples", q, original, samplesOf(w, wholeMetrics...))
		agree(t, "PromQL", q, original, rawQuestions(w))
	})
	t.Run("compacted by Thanos", func(t *testing.T) {
		dir := copyOf(t, uploaded)
		b := openThanos(t, dir)
		b.compact(levels(), receiveReplica)
		b.downsample()
		b.verify()
		t.Logf("blocks:\n%s", b.describe())
		bothAnswer(t, w, b, gateway(t, dir), original)
	})
	t.Run("compacted by Penstock", func(t *testing.T) {
		dir := copyOf(t, uploaded)
		n := startNode(t, "compactor", dir, "--compact.block-sync-interval=2s", "--compact.consistency-delay=1s")
		n.waitCompacted()
		n.stop()
		b := openThanos(t, dir)
		before := b.verify()
		t.Logf("blocks:\n%s", b.describe())
		bothAnswer(t, w, b, gateway(t, dir), original)

		b.compact(levels(56*day), receiveReplica)
		b.downsample()
		after := b.verify()
		t.Logf("blocks, when Thanos has gone on:\n%s", b.describe())
		merged := map[int64]bool{}
		for id, m := range after {
			if before[id] == nil {
				merged[m.Thanos.Downsample.Resolution] = true
			}
		}
		if !merged[0] || !merged[(5*time.Minute).Milliseconds()] {
			t.Errorf("Thanos has merged blocks of the resolutions %v, want raw ones and those of 5m", merged)
		}
		bothAnswer(t, w, b, gateway(t, dir), original)
	})
}

// bothAnswer asks Thanos and Penstock over the blocks of one bucket. Raw samples are those of the original.
func bothAnswer(t *testing.T, w *world, b *thanosBucket, ours *node, original asker) {
	t.Helper()
	theirs := b.querier(receiveReplica)
	all := samplesOf(w, allMetrics...)
	agree(t, "samples, Thanos and the original", theirs, original, all)
	agree(t, "samples, Penstock and the original", ours, original, all)
	agree(t, "PromQL, Thanos and the original", theirs, original, rawQuestions(w))
	agree(t, "PromQL, Penstock and the original", ours, original, rawQuestions(w))
	for _, resolution := range []time.Duration{5 * time.Minute, time.Hour} {
		agree(t, fmt.Sprintf("at %s, Thanos and Penstock", resolution), theirs, ours, coarseQuestions(w, resolution))
	}
}

// TestPenstockReadsThanos: blocks of a sidecar that Thanos compacted and downsampled are answered by Penstock as by Thanos, with the
// external labels on the series.
func TestPenstockReadsThanos(t *testing.T) {
	length := int64(14 * day / time.Second)
	begin := time.Unix((time.Now().Unix()-int64(43*day/time.Second))/length*length, 0)
	w := newWorld(begin, map[int]time.Duration{0: 11 * day, 14: 2 * day, 28: 2 * time.Hour}, 0, 14, 28)
	dir := t.TempDir()
	b := openThanos(t, dir)
	for _, in := range w.stretches {
		for at := in.from; at.Before(in.until); at = at.Add(2 * time.Hour) {
			b.upload(writeBlock(t, w, at, at.Add(2*time.Hour)), map[string]string{"cluster": "x", "replica": "a"})
		}
	}
	b.compact(levels())
	b.downsample()
	b.verify()
	t.Logf("blocks:\n%s", b.describe())

	ours, theirs := gateway(t, dir), b.querier()
	agree(t, "samples", ours, theirs, samplesOf(w, allMetrics...))
	agree(t, "PromQL", ours, theirs, rawQuestions(w))
	agree(t, "external labels", ours, theirs, []question{
		{expr: `sum by (cluster, replica) (gauge{cluster="x"})`, start: begin, end: begin.Add(day), step: time.Hour},
		{expr: `{cluster=~"x|y",replica!="b",__name__="gauge"}`, start: begin, end: begin.Add(day), step: time.Hour},
	})
	for name := range ours.ask(question{expr: "gauge", start: begin, end: begin.Add(day), step: time.Hour}) {
		if !strings.Contains(name, `cluster="x"`) || !strings.Contains(name, `replica="a"`) {
			t.Errorf("a series of Penstock is called %s", name)
		}
	}
	for _, resolution := range []time.Duration{5 * time.Minute, time.Hour} {
		agree(t, fmt.Sprintf("at %s", resolution), ours, theirs, coarseQuestions(w, resolution))
	}
}

// writeBlock writes a local block with all samples of the world in [from, until).
func writeBlock(t *testing.T, w *world, from, until time.Time) (dir string) {
	t.Helper()
	var all []storage.Series
	for _, s := range w.all {
		var list []chunks.Sample
		for _, x := range s.between(from, until, everybody) {
			list = append(list, x)
		}
		if len(list) > 0 {
			all = append(all, storage.NewListSeries(s.labels, list))
		}
	}
	dir, err := tsdb.CreateBlock(all, t.TempDir(), until.Sub(from).Milliseconds(), slog.New(slog.DiscardHandler))
	noError(t, err)
	return dir
}
