// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// inquiry is what one owner is asked in a round.
type inquiry struct {
	owner     ring.Member
	self      bool
	clusters  []int // positions in the round's clusters
	questions []question
}

// round tells the owners of every cluster what came and takes their answers. All
// clusters of one owner are one request.
func (e *Election) round(ctx context.Context) {
	if e.stopping.Load() {
		return
	}
	sent := e.cfg.Now()
	clusters := e.list(sent)
	ballots := make([][]ballot, len(clusters))
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, q := range e.inquiries(sent, clusters) {
		asking.Go(func() {
			answers, err := e.inquire(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			if e.noteAnswer(q.owner.Name, err); err != nil {
				return
			}
			for i, c := range q.clusters {
				ballots[c] = append(ballots[c], answers[i])
			}
		})
	}
	asking.Wait()
	for i, c := range clusters {
		if was, elected := c.decided(sent, ballots[i], e.cfg.RF); was != "" {
			e.metrics.changes.Inc()
			e.logger.Info("another replica is elected", "tenant", c.key.tenant, "cluster", c.key.cluster, "elected", elected, "was", was)
		}
		e.release(c, e.cfg.Now())
	}
}

// noteAnswer counts an owner that did not answer. One that refuses has other flags, and
// goes on like that: it is logged once.
func (e *Election) noteAnswer(owner string, err error) {
	if err == nil {
		delete(e.refusing, owner)
		return
	}
	e.metrics.roundsFailed.Inc()
	var refused *peerError
	if errors.As(err, &refused) && !e.refusing[owner] {
		e.refusing[owner] = true
		e.logger.Warn("a member does not vote on HA replicas", "member", owner, "err", err)
	}
}

// inquiries deals the clusters out to the owners that are alive.
func (e *Election) inquiries(now time.Time, clusters []*haCluster) []*inquiry {
	view := e.cfg.View()
	members := view.Ring.Members()
	byOwner := make([]*inquiry, len(members))
	for i, c := range clusters {
		q := c.report(now)
		for _, owner := range view.Ring.Owners(c.slot) {
			in := byOwner[owner]
			if in == nil {
				in = &inquiry{owner: members[owner], self: members[owner].Name == view.Self}
				byOwner[owner] = in
			}
			in.clusters = append(in.clusters, i)
			in.questions = append(in.questions, q)
		}
	}
	out := make([]*inquiry, 0, len(members))
	for _, in := range byOwner {
		if in == nil {
			continue
		}
		status, known := view.Member(in.owner.Name)
		if known {
			in.owner = status.Member
		}
		if in.self || (known && status.Alive) {
			out = append(out, in)
		}
	}
	return out
}

func (e *Election) inquire(ctx context.Context, in *inquiry) ([]ballot, error) {
	if in.self {
		return e.owned.answer(e.ownerClock(), in.questions), nil
	}
	ctx, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	answers, err := e.ask(ctx, in.owner, in.questions)
	if err == nil && len(answers) != len(in.questions) {
		err = errors.New("reply does not match the report")
	}
	return answers, err
}

// askMember asks another member over its internal listener.
func (e *Election) askMember(ctx context.Context, m ring.Member, questions []question) ([]ballot, error) {
	body, err := json.Marshal(electionRequest{electionVersion, e.cfg.ClusterLabel, e.cfg.ReplicaLabel, questions})
	if err != nil {
		return nil, fmt.Errorf("encode report: %w", err)
	}
	url := e.cfg.Scheme + "://" + m.InternalAddr + PathInternalElection
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, pushErrorBytesMax))
		return nil, &peerError{resp.StatusCode, escape(bytes.TrimSpace(text))}
	}
	var reply electionReply
	if err := json.NewDecoder(io.LimitReader(resp.Body, electionBytesMax)).Decode(&reply); err != nil {
		return nil, fmt.Errorf("decode reply: %w", err)
	}
	if reply.Version != electionVersion {
		return nil, fmt.Errorf("reply has version %d, want %d", reply.Version, electionVersion)
	}
	return reply.Ballots, nil
}
