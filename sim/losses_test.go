// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
)

const pathLoss = "/internal/v1/loss"

// tellLosses tells members of the writes that were acknowledged without them and that no hint
// brings, as cmd/penstock does.
func (p *process) tellLosses(ctx context.Context, client *http.Client) {
	e := p.endpoint()
	for e.sleep(ctx, time.Second) == nil {
		for _, debt := range p.log.Debts() {
			if err := p.tellLoss(ctx, client, debt); err != nil {
				p.w.events.detail("  %s cannot tell of %v: %v", p.addr, debt, err)
			}
		}
	}
}

func (p *process) tellLoss(ctx context.Context, client *http.Client, debt hint.Debt) error {
	members, void := ingest.Missers(debt, p.members.View())
	if len(members) == 0 && !void {
		return nil
	}
	for _, m := range members {
		if err := p.tellMember(ctx, client, m.Member); err != nil {
			return fmt.Errorf("member %s: %w", m.Name, err)
		}
		p.w.events.add("%s tells %s of a hole: %+v", p.host.name, m.Name, debt)
	}
	if err := p.gate(); err != nil {
		return err
	}
	p.log.Settle(debt)
	return nil
}

func (p *process) tellMember(ctx context.Context, client *http.Client, m ring.Member) error {
	if m.Name == p.host.name {
		p.disk.addLoss("told by itself", true)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.InternalAddr+pathLoss+"?from="+p.host.name, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %d", resp.StatusCode)
	}
	return nil
}

// takeLoss hears of a hole in what this member has.
func (p *process) takeLoss(w http.ResponseWriter, r *http.Request) {
	if p.gate() != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	p.disk.addLoss("told by "+r.FormValue("from"), true)
}
