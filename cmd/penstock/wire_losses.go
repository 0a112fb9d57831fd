// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
)

const (
	pathInternalLoss = "/internal/v1/loss"
	lossBytesMax     = 64 << 10

	// tellInterval is how soon a member hears of a hole that hints left in it.
	tellInterval = time.Second

	// reasonHintsLost and reasonShortRing mark, like reasonAway, losses of writes that were
	// acknowledged without this member.
	reasonHintsLost = "hints were lost"
	reasonShortRing = "there were fewer members than copies"
)

// lossJSON tells a member which of its samples may be missing.
type lossJSON struct {
	MinTime int64  `json:"minTime"` // Unix ms
	MaxTime int64  `json:"maxTime"`
	Reason  string `json:"reason"`
}

// lossOf is the stretch of samples that may be missing when writes that were received
// between from and to are: they may be as old as the out-of-order window, and of a
// TSDB whose senders lag by a block as well, and as new as owners let in.
func (s *server) lossOf(from, to time.Time, reason string) lossJSON {
	back := time.Duration(s.cfg.storage.outOfOrderWindow) + time.Duration(s.cfg.storage.blockDuration)
	return lossJSON{MinTime: from.Add(-back).UnixMilli(), MaxTime: to.Add(maxFutureOwner).UnixMilli(), Reason: reason}
}

// tellLosses tells members of the writes that they miss because hints for them were
// lost here, or because they were not in the ring and nobody else was, until ctx ends. They are refilled. Queries may count on them meanwhile:
// what they miss was acknowledged without them, on as many others as was promised.
func (s *server) tellLosses(ctx context.Context) error {
	tick := time.NewTicker(tellInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, debt := range s.hints.Debts() {
			if err := s.tellLoss(ctx, debt); err != nil && ctx.Err() == nil {
				s.logger.Warn("members not told of the writes that they miss, trying again", "err", err)
			}
		}
	}
}

// tellLoss tells the members that a debt is about, if they are there to hear it. Telling one twice
// changes nothing while it is not refilled.
func (s *server) tellLoss(ctx context.Context, debt hint.Debt) error {
	members, void := ingest.Missers(debt, s.members.View())
	if void {
		s.logger.Info("hints were lost for a member that is gone", "member", debt.Member, "from", debt.From, "to", debt.To)
		s.hints.Settle(debt)
		return nil
	}
	if len(members) == 0 {
		return nil
	}
	reason := fmt.Sprintf("%s by %s: %s", reasonHintsLost, s.identity.Name, debt.Reason)
	if debt.Member == "" {
		reason = fmt.Sprintf("%s: %s had them, says %s", reasonShortRing, strings.Join(debt.Ring, " and "), s.identity.Name)
	}
	loss := s.lossOf(debt.From, debt.To, reason)
	for _, m := range members {
		if err := s.tellMember(ctx, m, loss); err != nil {
			return fmt.Errorf("member %s: %w", m.Name, err)
		}
		s.logger.Warn("member misses writes that were acknowledged without it; it is refilled", "member", m.Name, "from", debt.From, "to", debt.To, "reason", reason)
	}
	s.hints.Settle(debt)
	return nil
}

func (s *server) tellMember(ctx context.Context, m ring.MemberStatus, loss lossJSON) error {
	if m.Name == s.identity.Name {
		return s.addLoss(loss)
	}
	body, err := json.Marshal(loss)
	if err != nil {
		return err
	}
	_, err = s.askPeer(ctx, http.MethodPost, m, pathInternalLoss, body)
	return err
}

// takeLoss hears of a hole in what this member has.
func (s *server) takeLoss(w http.ResponseWriter, r *http.Request) {
	var loss lossJSON
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, lossBytesMax)).Decode(&loss); err != nil {
		http.Error(w, "not a loss: "+err.Error(), http.StatusBadRequest)
		return
	}
	if err := s.addLoss(loss); err != nil {
		s.logger.Error("cannot note that data is missing here", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *server) addLoss(loss lossJSON) error {
	_, err := s.store.AddLoss(tsdbstore.Loss{MinTime: loss.MinTime, MaxTime: loss.MaxTime, Reason: loss.Reason})
	return err
}
