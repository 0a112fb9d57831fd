// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/penstock-io/penstock/querier"
)

// read asks random members from time to time until the time is over.
func (w *world) read(until time.Time) {
	for n := 0; time.Now().Before(until); n++ {
		r := w.plan.seed.rand("read", n)
		if !w.sleep(between(r, 2*time.Second, 12*time.Second)) {
			return
		}
		hosts := w.allHosts()
		p := hosts[r.IntN(len(hosts))].current()
		if p == nil {
			continue
		}
		partial, deduped := r.IntN(3) == 0, r.IntN(4) == 0
		p.running.Go(func() { p.query(partial, deduped) })
	}
}

// readAfterStart asks somebody soon after a process started, when what the members know of
// each other is old.
func (w *world) readAfterStart(run int, name string) {
	r := w.plan.seed.rand("read after start", name, run)
	w.background(func() {
		for range 2 {
			if !w.sleep(between(r, 0, 2*time.Second)) {
				return
			}
			hosts := w.allHosts()
			if p := hosts[r.IntN(len(hosts))].current(); p != nil {
				partial := r.IntN(2) == 0
				p.running.Go(func() { p.query(partial, false) })
			}
		}
	})
}

// query asks one member for everything and lets the ledger judge. It returns whether the
// answer was complete.
func (p *process) query(partial, deduped bool) (complete bool) {
	if p.gate() != nil {
		return false
	}
	horizon := p.w.ledger.horizon()
	ctx, cancel := context.WithTimeout(p.w.ctx, 2*time.Minute)
	defer cancel()
	ctx = querier.WithPartialResponse(querier.WithTenant(ctx, tenant), partial)
	from := storage.Queryable(p.raw)
	if deduped {
		from = p.deduped
	}
	answer, warned, err := readAll(ctx, from)
	if p.gate() != nil || err != nil {
		return false // Nobody was told anything, or that there is no answer.
	}
	check := p.w.ledger.check
	if deduped {
		check = p.w.ledger.checkDeduped
	}
	for _, v := range check(answer, !warned, horizon, math.MinInt64, math.MaxInt64) {
		p.w.violate(v.invariant, "query at %s (partial %v, deduplicated %v): %s; it sees %s", p.host.name, partial, deduped, v.detail, p.sees())
	}
	return !warned
}

// sees is what the process takes the members for.
func (p *process) sees() string {
	var out []string
	for _, m := range p.membership().Members {
		out = append(out, fmt.Sprintf("%s(alive %v, serving %v, forgotten %v, %q)", m.Name, m.Alive, m.Serving, m.Forgotten, m.Lacks))
	}
	return strings.Join(out, " ")
}

// readAll reads every sample there is.
func readAll(ctx context.Context, from storage.Queryable) (answer found, warned bool, err error) {
	q, err := from.Querier(0, math.MaxInt64/2)
	if err != nil {
		return nil, false, err
	}
	defer q.Close() // Read-only.
	answer = found{}
	set := q.Select(ctx, true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "sim"))
	for set.Next() {
		s := set.At()
		var list []point
		it := s.Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt != chunkenc.ValFloat {
				return nil, false, fmt.Errorf("a sample of type %s", vt)
			}
			t, v := it.At()
			list = append(list, point{t, v})
		}
		if it.Err() != nil {
			return nil, false, it.Err()
		}
		answer[s.Labels().String()] = list
	}
	return answer, len(set.Warnings()) > 0, set.Err()
}
