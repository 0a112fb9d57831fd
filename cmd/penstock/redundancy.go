// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/penstock-io/penstock/ring"
)

const (
	pathInternalStatus = "/internal/v1/status"

	// redundancyTimeout bounds the question to one member. One that takes longer to say
	// how it is cannot spare another.
	redundancyTimeout = 2 * time.Second
	// redundancyInterval is how often the gauge is brought up to date: rollouts are
	// watched by people and by scripts that ask every few seconds.
	redundancyInterval = 10 * time.Second
	// memberStatusBytesMax bounds what is read of an answer.
	memberStatusBytesMax = 1 << 20
)

// memberStatus is what a member says of itself to the others.
type memberStatus struct {
	// NotReady says why it is not ready; empty when it is.
	NotReady string `json:"notReady,omitempty"`
	// RingVersion is that of its ring. Members that see different ones are not done
	// with a change.
	RingVersion string `json:"ringVersion"`
	// Hints are how many writes it keeps, by the member that missed them.
	Hints map[string]int `json:"hints,omitempty"`
	// Debts is how many holes it knows of in what others have, that they have not been told.
	Debts int `json:"debts,omitempty"`
	// Losses is how many stretches of time it has still to be given back.
	Losses int `json:"losses,omitempty"`
}

// selfStatus is the status of this member.
func (s *server) selfStatus() memberStatus {
	status := memberStatus{RingVersion: s.members.View().VersionHex(), Hints: map[string]int{}, Losses: len(s.store.Losses()), Debts: len(s.hints.Debts())}
	if err := s.ready(); err != nil {
		status.NotReady = err.Error()
	}
	for name, stats := range s.hints.Pending() {
		status.Hints[name] = stats.Records
	}
	return status
}

func (s *server) internalStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// A write error means that the other member is gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(s.selfStatus())
}

// redundancy returns why no member may be stopped now, or nothing: this member
// reaches every other, all are ACTIVE and hold what they should, and no hint waits
// anywhere. leaving is the name of a member that may be LEAVING and not ready, because
// it is the one that asks to go; "" for none.
func (s *server) redundancy(ctx context.Context, leaving string) []string {
	view := s.members.View()
	reasons := viewReasons(view, leaving)
	if len(reasons) > 0 {
		return reasons // Who is down would only be asked in vain.
	}
	var mu sync.Mutex
	statuses := map[string]memberStatus{}
	failed := map[string]error{}
	var asked sync.WaitGroup
	for _, m := range view.Members {
		if !m.InRing() {
			continue
		}
		asked.Go(func() {
			status, err := s.statusOf(ctx, m)
			mu.Lock()
			defer mu.Unlock()
			statuses[m.Name] = status
			if err != nil {
				failed[m.Name] = err
			}
		})
	}
	asked.Wait()
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		reasons = append(reasons, fmt.Sprintf("member %s does not answer: %s", name, failed[name]))
		delete(statuses, name)
	}
	return append(reasons, statusReasons(statuses, leaving)...)
}

// viewReasons are the reasons that gossip knows of.
func viewReasons(view *ring.View, leaving string) (reasons []string) {
	inRing := 0
	for _, m := range view.Members {
		switch {
		case m.Forgotten:
			reasons = append(reasons, fmt.Sprintf("member %s is forgotten: start it again, or wait until what it held is past local retention", m.Name))
		case !m.InRing():
			continue
		case !m.Alive:
			reasons = append(reasons, fmt.Sprintf("member %s is down", m.Name))
		case m.State != ring.Active && (m.Name != leaving || m.State != ring.Leaving):
			reasons = append(reasons, fmt.Sprintf("member %s is %s", m.Name, m.State))
		case !m.Whole():
			reasons = append(reasons, fmt.Sprintf("member %s: %s", m.Name, lacks(false, m.Holes)))
		}
		inRing++
	}
	if rf := view.Ring.RF(); inRing < rf {
		reasons = append(reasons, fmt.Sprintf("%d of %d members that the replication factor needs", inRing, rf))
	}
	return reasons
}

// statusReasons are the reasons in what the members say of themselves.
func statusReasons(statuses map[string]memberStatus, leaving string) (reasons []string) {
	versions := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(statuses)) {
		status := statuses[name]
		versions[status.RingVersion] = true
		if status.NotReady != "" && name != leaving {
			reasons = append(reasons, fmt.Sprintf("member %s is not ready: %s", name, status.NotReady))
		}
		if status.Debts > 0 {
			reasons = append(reasons, fmt.Sprintf("member %s knows of writes that others miss and have not been told of", name))
		}
		if status.Losses > 0 {
			reasons = append(reasons, fmt.Sprintf("member %s is being refilled", name))
		}
		for _, owner := range slices.Sorted(maps.Keys(status.Hints)) {
			if owner == leaving {
				continue // They go to the owners that come after it.
			}
			reasons = append(reasons, fmt.Sprintf("member %s keeps %d hints for %s", name, status.Hints[owner], owner))
		}
	}
	if len(versions) > 1 {
		reasons = append(reasons, "members see different rings")
	}
	return reasons
}

// statusOf asks a member how it is.
func (s *server) statusOf(ctx context.Context, m ring.MemberStatus) (memberStatus, error) {
	var status memberStatus
	if m.Name == s.identity.Name {
		return s.selfStatus(), nil
	}
	body, err := s.askPeer(ctx, http.MethodGet, m, pathInternalStatus, nil)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return status, fmt.Errorf("not understood: %w", err)
	}
	return status, nil
}

// askPeer sends a small request to another member and returns the answer.
func (s *server) askPeer(ctx context.Context, method string, m ring.MemberStatus, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, redundancyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.scheme+"://"+m.InternalAddr+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, memberStatusBytesMax))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s: %.200s", resp.Status, answer)
	}
	return answer, nil
}

// newRedundancyGauge registers the gauge that watchRedundancy keeps.
func newRedundancyGauge(reg prometheus.Registerer) prometheus.Gauge {
	return promauto.With(reg).NewGauge(prometheus.GaugeOpts{
		Name: "penstock_cluster_redundant",
		Help: "1 if a member may be stopped, as /-/ready?level=redundant says; checked every 10 seconds.",
	})
}

// watchRedundancy keeps the gauge until ctx ends, and logs when it changes.
func (s *server) watchRedundancy(ctx context.Context) error {
	tick := time.NewTicker(redundancyInterval)
	defer tick.Stop()
	was := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		reasons := s.redundancy(ctx, "")
		is := len(reasons) == 0
		switch {
		case ctx.Err() != nil:
			return nil
		case is:
			s.redundant.Set(1)
		default:
			s.redundant.Set(0)
		}
		if is != was && is {
			s.logger.Info("the cluster is redundant: a member may be stopped")
		} else if is != was {
			s.logger.Warn("the cluster is not redundant: stop no member now", "reasons", reasons)
		}
		was = is
	}
}

// readyRedundant answers a rollout that asks whether it may stop a member. It is not a
// readiness probe: one member that is down would make all of them unready.
func (s *server) readyRedundant(w http.ResponseWriter, r *http.Request) {
	if s.cluster == nil {
		http.Error(w, "not redundant: this member is alone", http.StatusServiceUnavailable)
		return
	}
	if reasons := s.redundancy(r.Context(), ""); len(reasons) > 0 {
		http.Error(w, "not redundant: "+strings.Join(reasons, "; "), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "Penstock is redundant.")
}
