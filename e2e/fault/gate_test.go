// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// refillPath is where a member says what it lost and is given back.
const refillPath = "/api/v1/status/refill"

// repaired waits until the next member may be harmed, and returns how long that took: all are ready and see one ring,
// and each has said once since then that it lacks nothing and keeps nothing for anybody. Not all at once: on a busy machine
// there is always somebody who is slow for a moment and gets a hint.
func (r *rig) repaired() time.Duration {
	r.t.Helper()
	start := time.Now()
	for _, n := range r.cluster.Nodes {
		n.WaitReady()
	}
	r.cluster.WaitWhole(rejoinWithin)
	for _, n := range r.cluster.Nodes {
		harness.Eventually(r.t, repairWithin, "what "+n.Name+" keeps for others is delivered", func() error { return delivered(n) })
		harness.Eventually(r.t, repairWithin, n.Name+" has back what it lost", func() error { return whole(n) })
		harness.Eventually(r.t, repairWithin, n.Name+" says that all copies are there", func() error { return redundant(n) })
	}
	return time.Since(start)
}

// delivered is nil when a node keeps nothing for others.
func delivered(n *harness.Node) error {
	m, err := n.Metrics()
	if err != nil {
		return err
	}
	if pending := m.Total("penstock_hint_pending_records"); pending != 0 {
		return fmt.Errorf("%g hints", pending)
	}
	return nil
}

// redundant is nil when a node says that another one may be harmed. A node that does not know the question answers it
// as the one whether it is ready.
func redundant(n *harness.Node) error {
	resp, err := n.Call("/-/ready", url.Values{"level": {"redundant"}})
	if err != nil {
		return err
	}
	if resp.Code != http.StatusOK {
		return fmt.Errorf("status %d: %.300s", resp.Code, resp.Body)
	}
	return nil
}

// whole is nil when a node lacks nothing of what it should keep, or comes of a build that does not know.
func whole(n *harness.Node) error {
	resp, err := n.Call(refillPath, nil)
	if err != nil || resp.Code == http.StatusNotFound {
		return err
	}
	var status struct {
		State     string `json:"state"`
		LastError string `json:"lastError"`
	}
	if err := json.Unmarshal(resp.Data, &status); err != nil {
		return fmt.Errorf("status %d: %w", resp.Code, err)
	}
	if status.State != "whole" {
		return fmt.Errorf("it is %s: %s", status.State, status.LastError)
	}
	return nil
}

// knowsRefill tells whether members are given back what they lost. Until they are, nobody may be harmed after a new
// disk.
func (r *rig) knowsRefill() bool {
	resp, err := r.cluster.Nodes[0].Call(refillPath, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.Code == http.StatusNotFound {
		r.t.Log("new disk: left out, this build does not refill a member")
		return false
	}
	return true
}
