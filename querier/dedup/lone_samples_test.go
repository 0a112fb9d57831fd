// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	fanout "github.com/penstock-io/penstock/querier"
)

// samples looks at the samples themselves: each is one that a replica stored, no two are nearer or farther
// apart than the bounds say, none falls without a reset, and any piece of the range has the same.
func (c *check) samples() {
	whole := c.raw(0, c.sc.length+c.l.clock)
	for n := range c.sc.targets {
		for b, part := range c.parts() {
			c.sequence(n, part, whole[strconv.Itoa(n)+"/"+b])
		}
	}
	for _, third := range []int64{0, 1, 2} {
		from, to := third*c.sc.length/3, (third+1)*c.sc.length/3
		piece := c.raw(from, to)
		for key, points := range whole {
			var want []point
			for _, p := range points {
				if p.t > from && p.t <= to {
					want = append(want, p)
				}
			}
			if show(want) != show(piece[key]) {
				c.fail(c.sc, "%s in (%d, %d] is %s, and of the whole range %s", key, from, to, show(piece[key]), show(want))
			}
		}
	}
}

// raw reads the samples in (from, to].
func (c *check) raw(from, to int64) map[string][]point {
	ctx := fanout.WithTenant(context.Background(), loneTenant)
	q, err := c.engine.NewInstantQuery(ctx, c.replicas, nil, fmt.Sprintf("%s[%dms]", c.sc.selector(), to-from), time.UnixMilli(to))
	if err != nil {
		c.fail(c.sc, "%v", err)
		return nil
	}
	defer q.Close()
	m, err := q.Exec(ctx).Matrix()
	if err != nil {
		c.fail(c.sc, "%v", err)
	}
	out := map[string][]point{}
	for _, series := range m {
		var points []point
		for _, p := range series.Floats {
			points = append(points, point{p.T, p.F})
		}
		for _, p := range series.Histograms {
			points = append(points, point{p.T, p.H.Count})
		}
		slices.SortFunc(points, func(a, b point) int { return int(a.t - b.t) })
		out[series.Metric.Get("instance")+"/"+series.Metric.Get("le")] = points
	}
	return out
}

func (c *check) sequence(n int, part float64, points []point) {
	tg := &c.sc.targets[n]
	known := map[int64][]scrape{}
	for i := range c.sc.servers {
		for _, s := range c.sc.scrapes(&c.sc.servers[i], n) {
			if !s.marker && !s.late {
				known[s.t] = append(known[s.t], s)
			}
		}
	}
	var last scrape
	for i, p := range points {
		at := slices.IndexFunc(known[p.t], func(s scrape) bool { return c.shown(tg, part, s.at) == p.f })
		if at < 0 {
			c.fail(c.sc, "nobody stored %v at %d", p.f, p.t)
			continue
		}
		s := known[p.t][at]
		if i > 0 {
			c.neighbours(n, last, s, points[i-1], p)
		}
		last = s
	}
}

func (c *check) shown(tg *target, part float64, at int64) float64 {
	switch c.sc.kind {
	case gauges:
		return tg.gauge(at)
	case classic:
		return tg.share(at, part)
	default:
		return tg.count(at)
	}
}

// neighbours judges two samples, one after the other.
func (c *check) neighbours(n int, a, b scrape, p, q point) {
	tg := &c.sc.targets[n]
	reset := slices.ContainsFunc(tg.resets, func(r int64) bool { return r > a.at && r <= b.at })
	if c.sc.kind != gauges && q.f < p.f && !reset {
		c.fail(c.sc, "target %d falls from %v at %d to %v at %d", n, p.f, p.t, q.f, q.t)
	}
	c.compared["distance"]++
	// From two samples of a target nobody can tell how often it is scraped, if that is rarely.
	told := 2*c.l.slow <= newRule(0).history || p.t > max(tg.from, 0)+3*c.l.slow && q.t < min(tg.to, c.sc.length)-3*c.l.slow
	if d := q.t - p.t; told && d < c.l.nearest {
		c.fail(c.sc, "target %d: samples at %d and %d are %d apart, less than %d", n, p.t, q.t, d, c.l.nearest)
	}
	first, end := p.t-c.l.pad, q.t+c.l.pad
	if first < tg.from || end >= tg.to || q.t > c.sc.length-c.l.edge ||
		slices.ContainsFunc(c.trouble[n], func(h hole) bool { return h.from <= end && h.to >= first }) {
		return
	}
	if d := q.t - p.t; d > c.l.farthest {
		c.fail(c.sc, "target %d: samples at %d and %d are %d apart, more than %d", n, p.t, q.t, d, c.l.farthest)
	}
}
