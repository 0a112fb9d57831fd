// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
)

const (
	pathInternalLoss = "/internal/v1/loss"
	lossBytesMax     = 64 << 10

	// tellInterval is how soon a member hears of a hole that hints left in it.
	tellInterval = time.Second

	// reasonHintsLost marks, like reasonAway, losses of writes that were acknowledged
	// without this member.
	reasonHintsLost = "hints were lost"
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
// lost here, until ctx ends. They are refilled. Queries may count on them meanwhile:
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
				s.logger.Warn("member not told of the writes that it misses, trying again", "member", debt.Member, "err", err)
			}
		}
	}
}

// tellLoss tells the member of a debt, if it is there to hear it. Telling it twice
// changes nothing.
func (s *server) tellLoss(ctx context.Context, debt hint.Debt) error {
	m, known := s.members.View().Member(debt.Member)
	switch {
	case !known || m.State == ring.Left:
		s.logger.Info("hints were lost for a member that is gone", "member", debt.Member, "from", debt.From, "to", debt.To)
		s.hints.Settle(debt)
		return nil
	case !m.Alive || m.State != ring.Active:
		return nil
	}
	loss := s.lossOf(debt.From, debt.To, fmt.Sprintf("%s by %s: %s", reasonHintsLost, s.identity.Name, debt.Reason))
	if m.Name == s.identity.Name {
		if err := s.addLoss(loss); err != nil {
			return err
		}
	} else {
		body, err := json.Marshal(loss)
		if err != nil {
			return err
		}
		if _, err := s.askPeer(ctx, http.MethodPost, m, pathInternalLoss, body); err != nil {
			return err
		}
	}
	s.logger.Warn("member misses writes that hints were lost of; it is refilled", "member", m.Name, "from", debt.From, "to", debt.To, "reason", debt.Reason)
	s.hints.Settle(debt)
	return nil
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
