// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/penstock-io/penstock/querier"
)

// refill gives a member back what its disk lost: it reads the other members through the
// real fan-out, which refuses while too many are missing, and adds the result as blocks.
// It stands in for the package that does it range by range; what matters here is when a
// member counts as whole again.
func (p *process) refill(ctx context.Context) {
	e := p.endpoint()
	// A refill takes minutes and longer; what happens meanwhile is what this is about.
	pace := between(p.w.plan.seed.rand("refill", p.host.name, p.run), 2*time.Second, 25*time.Second)
	for e.sleep(ctx, pace) == nil {
		upTo := p.disk.lastLoss()
		former, lacking := p.members.lacks()
		if !lacking && p.disk.lossCount() == 0 || !p.store.Ready() {
			continue
		}
		if p.refillOnce(ctx) != nil || p.reach("refill.done") != nil {
			continue
		}
		p.disk.resolve(upTo, former)
		p.members.setData()
		p.w.events.add("%s is refilled", p.host.name)
	}
}

func (p *process) refillOnce(ctx context.Context) error {
	if err := p.reach("refill.read"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx = querier.WithPartialResponse(querier.WithTenant(ctx, tenant), false)
	answer, _, err := readAll(ctx, p.raw)
	if err != nil {
		return err
	}
	for name, list := range answer {
		lset, err := parser.NewParser(parser.Options{}).ParseMetric(name)
		if err != nil {
			return err
		}
		if err := p.reach("refill.block"); err != nil {
			return err
		}
		p.disk.addBlock(entry{series: name, lset: lset}, list)
	}
	return nil
}
