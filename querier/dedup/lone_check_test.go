// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	fanout "github.com/penstock-io/penstock/querier"
)

// judgement is what came of asking about scenes.
type judgement struct {
	engine   *promql.Engine
	replicas storage.SampleAndChunkQueryable // the view of what the replicas stored
	lone     storage.Queryable

	compared map[string]int // values that a bound was held against, by what they are of
	broken   []string
}

func (j *judgement) fail(sc *scene, format string, args ...any) {
	j.broken = append(j.broken, fmt.Sprintf("seed %d: ", sc.seed)+fmt.Sprintf(format, args...))
}

// values are a range query's answer: by target and bucket, by time.
type values map[string]map[int64]float64

func (j *judgement) ask(q storage.Queryable, sc *scene, query string, from, to, step int64) values {
	ctx := fanout.WithTenant(context.Background(), loneTenant)
	q1, err := j.engine.NewRangeQuery(ctx, q, nil, query, time.UnixMilli(from), time.UnixMilli(to), time.Duration(step)*time.Millisecond)
	if err != nil {
		j.fail(sc, "%s: %v", query, err)
		return nil
	}
	defer q1.Close()
	m, err := q1.Exec(ctx).Matrix()
	if err != nil {
		j.fail(sc, "%s: %v", query, err)
		return nil
	}
	out := values{}
	for _, series := range m {
		if series.Metric.Has("replica") {
			j.fail(sc, "%s: the answer has %s", query, series.Metric)
		}
		at := map[int64]float64{}
		for _, p := range series.Floats {
			at[p.T] = p.F
		}
		for _, p := range series.Histograms {
			at[p.T] = p.H.Count
		}
		out[series.Metric.Get("instance")+"/"+series.Metric.Get("le")] = at
	}
	return out
}

// judge asks all that is to be asked about a scene and holds the answers against the bounds.
func (j *judgement) judge(sc *scene) {
	c := &check{judgement: j, sc: sc, l: sc.limits()}
	for n := range sc.targets {
		c.trouble = append(c.trouble, sc.trouble(n))
	}
	c.window = max((5 * time.Minute).Milliseconds(), 20*c.l.slow)
	c.step = max(sc.length/40, 1000)
	c.presence()
	c.samples()
	c.overTime()
	if sc.kind != gauges {
		c.increases()
		c.resets()
	}
	if sc.kind >= classic {
		c.quantiles()
	}
}

// check is a judgement of one scene.
type check struct {
	*judgement
	sc           *scene
	l            limits
	trouble      [][]hole // by target
	window, step int64
}

// both asks for the same from the pair and from the lone Prometheus.
func (c *check) both(query string) (pair, lone values) {
	from, to := c.window, c.sc.length
	return c.ask(c.replicas, c.sc, query, from, to, c.step), c.ask(c.judgement.lone, c.sc, query, from, to, c.step)
}

// over is a function over the window.
func (c *check) over(function string) string {
	return fmt.Sprintf("%s(%s[%dms])", function, c.sc.selector(), c.window)
}

// each calls f for each window that the bounds hold of, with both values. A value that only one of
// the two has is broken already.
func (c *check) each(what string, pair, lone values, f func(w window, perMs, p, l float64)) {
	for n := range c.sc.targets {
		for b, part := range c.parts() {
			key := strconv.Itoa(n) + "/" + b
			for at := c.window; at <= c.sc.length; at += c.step {
				w := c.sc.window(n, c.l, c.trouble[n], at-c.window, at)
				if !w.fair {
					continue
				}
				c.compared[what]++
				p, inPair := pair[key][at]
				l, inLone := lone[key][at]
				if !inPair || !inLone {
					c.fail(c.sc, "%s of %s at %d: in the answer of the pair %v, of the lone one %v", what, key, at, inPair, inLone)
					continue
				}
				f(w, part*c.sc.targets[n].perMs, p, l)
			}
		}
	}
}

// parts are the series of one target and which part of what it counts they do.
func (c *check) parts() map[string]float64 {
	if c.sc.kind != classic {
		return map[string]float64{"": 1}
	}
	parts := map[string]float64{}
	for i, bound := range classicBounds {
		parts[bound] = shares[i]
	}
	return parts
}

func (c *check) overTime() {
	pair, lone := c.both(c.over("count_over_time"))
	c.each("count_over_time", pair, lone, func(w window, _, p, _ float64) {
		if least, most := w.counts(c.l, len(c.sc.servers)); p < least || p > most {
			c.fail(c.sc, "%v samples in (%d, %d], not %.1f to %.1f", p, w.from, w.to, least, most)
		}
	})
}

func (c *check) increases() {
	increase, lone := c.both(c.over("increase"))
	rate, _ := c.both(c.over("rate"))
	for key, at := range rate {
		for t, r := range at {
			if all := increase[key][t]; math.Abs(r*float64(c.window)/1000-all) > 1e-6*(1+all) {
				c.fail(c.sc, "rate %v and increase %v of %s at %d", r, all, key, t)
			}
		}
	}
	c.each("increase", increase, lone, func(w window, perMs, p, l float64) {
		below, above := w.increases(c.l, perMs, c.sc.lone.interval)
		if p < l-below || p > l+above {
			c.fail(c.sc, "increase over (%d, %d] is %v, not within -%.1f and +%.1f of %v", w.from, w.to, p, below, above, l)
		}
	})
}

func (c *check) resets() {
	pair, lone := c.both(c.over("resets"))
	c.each("resets", pair, lone, func(w window, _, p, l float64) {
		if p < float64(w.seen) || p > float64(w.within) {
			c.fail(c.sc, "%v resets in (%d, %d], not %d to %d; the lone one has %v", p, w.from, w.to, w.seen, w.within, l)
		}
	})
	for key, at := range pair { // whatever became of the pair, it has no reset that was none
		n, err := strconv.Atoi(key[:1])
		if err != nil {
			c.fail(c.sc, "a series without target: %s", key)
			continue
		}
		for t, resets := range at {
			if w := c.sc.window(n, c.l, nil, t-c.window, t); resets > float64(w.within) {
				c.fail(c.sc, "%v resets in (%d, %d], though there were %d at most", resets, w.from, w.to, w.within)
			}
		}
	}
}

// quantiles are of a distribution that does not change: a fifth of what is counted lies between the
// quantile and either end of its bucket.
func (c *check) quantiles() {
	query := fmt.Sprintf("histogram_quantile(0.3, sum by (instance, le) (%s))", c.over("rate"))
	pair, lone := c.both(query)
	for n := range c.sc.targets {
		for at := c.window; at <= c.sc.length; at += c.step {
			w := c.sc.window(n, c.l, c.trouble[n], at-c.window, at)
			if !w.fair || w.resets > 0 {
				continue
			}
			c.compared["histogram_quantile"]++
			lo, hi := c.bucket(n, at)
			key := strconv.Itoa(n) + "/"
			p, l := pair[key][at], lone[key][at]
			if !(p > lo && p <= hi) || !(l > lo && l <= hi) {
				c.fail(c.sc, "quantile over (%d, %d] is %v, and %v of the lone one, not within (%v, %v]", w.from, w.to, p, l, lo, hi)
			}
		}
	}
}

func (c *check) bucket(n int, at int64) (lo, hi float64) {
	tg := &c.sc.targets[n]
	_, resets := tg.since(at)
	switch c.sc.kind {
	case classic:
		return 1, 2
	case customBuckets:
		bounds := tg.boundsAfter(resets)
		return bounds[0], bounds[1]
	default:
		return 1, math.Exp2(math.Exp2(-float64(tg.schemaAfter(resets))))
	}
}

// presence compares the plain selector and its sum.
func (c *check) presence() {
	pair, lone := c.both(c.sc.selector())
	sums, _ := c.both("sum(" + c.sc.selector() + ")")
	for at := c.window; at <= c.sc.length; at += c.step {
		total, n := 0.0, 0
		for key := range pair {
			if v, ok := pair[key][at]; ok {
				total, n = total+v, n+1
			}
		}
		if sum, ok := sums["/"][at]; ok != (n > 0) || math.Abs(sum-total) > 1e-9*(1+math.Abs(total)) {
			c.fail(c.sc, "sum at %d is %v and there %v, of %d series with %v together", at, sum, ok, n, total)
		}
		for n := range c.sc.targets {
			for b, part := range c.parts() {
				c.present(n, strconv.Itoa(n)+"/"+b, part, at, pair, lone)
			}
		}
	}
}

// present: while a target is there it is in the answer, with what it showed less than D before; and
// soon after it has gone it is not.
func (c *check) present(n int, key string, part float64, at int64, pair, lone values) {
	tg := &c.sc.targets[n]
	age := c.l.farthest
	if at > c.sc.length-2*c.l.edge {
		age = c.l.edge
	}
	from, to := at-age-c.l.clock, at+c.l.clock
	trouble := slices.ContainsFunc(c.trouble[n], func(h hole) bool { return h.from <= to+c.l.pad && h.to >= from-c.l.pad })
	p, inPair := pair[key][at]
	l, inLone := lone[key][at]
	switch {
	case trouble:
	case from > tg.from+c.l.pad && to < tg.to:
		c.compared["sum"]++
		if !inPair || !inLone {
			c.fail(c.sc, "%s at %d: in the answer of the pair %v, of the lone one %v", key, at, inPair, inLone)
			return
		}
		least, most := c.between(tg, part, from, to)
		if p < least || p > most || l < least || l > most {
			c.fail(c.sc, "%s at %d is %v, and %v of the lone one, not within [%v, %v]", key, at, p, l, least, most)
		}
	case to < tg.from, from > c.gone(n):
		c.compared["absent"]++
		if inPair || inLone {
			c.fail(c.sc, "%s at %d is there, lone %v", key, at, inLone)
		}
	}
}

// gone is when a target is no longer shown: soon after it went, or, if no server that was well saw it go,
// after the engine's lookback.
func (c *check) gone(n int) int64 {
	to := c.sc.targets[n].to
	if slices.ContainsFunc(c.trouble[n], func(h hole) bool { return h.from <= to+c.l.pad && h.to >= to-c.l.pad }) {
		to += (5 * time.Minute).Milliseconds()
	}
	return to + c.l.pad
}

// between is what a target shows between two times.
func (c *check) between(tg *target, part float64, from, to int64) (least, most float64) {
	if c.sc.kind == gauges {
		least, most = tg.gauge(from), tg.gauge(from)
		for t := from; t <= to; t += max(1, (to-from)/64) {
			least, most = min(least, tg.gauge(t)), max(most, tg.gauge(t))
		}
		slack := tg.perMs * float64(1+(to-from)/64)
		return least - slack, most + slack
	}
	least, most = tg.share(from, part), tg.share(to, part)
	for _, r := range tg.resets {
		if r > from && r <= to {
			least, most = 0, max(most, tg.share(r-1, part))
		}
	}
	return least, most
}
