// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// PathInternalElection is where a member answers the reports of coordinators.
const PathInternalElection = "/internal/v1/election"

const (
	// electionVersion is the version of the messages between members.
	electionVersion = 1
	// electionBytesMax bounds a report: DefaultElectionClusters with all replicas that
	// a cluster can have, and long names.
	electionBytesMax = 16 << 20
	// ownedClustersMax bounds the clusters that an owner decides on.
	ownedClustersMax = 4 * DefaultElectionClusters
)

// question is the report on one cluster, which an owner answers with a ballot.
type question struct {
	Tenant  string     `json:"tenant"`
	Cluster string     `json:"cluster"`
	Known   claim      `json:"known"`
	Seen    []sighting `json:"seen"`
}

type electionRequest struct {
	Version int `json:"version"`
	// ClusterLabel and ReplicaLabel are those of the coordinator. Members with others
	// would vote on other replicas under the same name.
	ClusterLabel string     `json:"cluster_label"`
	ReplicaLabel string     `json:"replica_label"`
	Questions    []question `json:"questions"`
}

type electionReply struct {
	Version int `json:"version"`
	// Ballots are in the order of the questions.
	Ballots []ballot `json:"ballots"`
}

// electionTable is this member as an owner. It is in memory only: after a restart it
// listens for the longest lease and follows what the others know. Safe for concurrent
// use.
type electionTable struct {
	mu       sync.Mutex
	clusters map[haKey]*ownedCluster
	swept    int64
}

type ownedCluster struct {
	electorate
	asked int64
}

// answer returns the ballots on the questions, at a time in ms that never goes back.
func (t *electionTable) answer(now int64, questions []question) []ballot {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	out := make([]ballot, len(questions))
	for i, q := range questions {
		key := haKey{q.Tenant, q.Cluster}
		c := t.clusters[key]
		if c == nil {
			if len(t.clusters) >= ownedClustersMax {
				continue // No lease: everybody is admitted.
			}
			c = &ownedCluster{electorate: electorate{created: now}}
			t.clusters[key] = c
		}
		c.asked = now
		out[i] = c.observe(now, q.Known, q.Seen)
	}
	return out
}

// sweep forgets the clusters that nobody asks about.
func (t *electionTable) sweep(now int64) {
	if now-t.swept < time.Minute.Milliseconds() {
		return
	}
	t.swept = now
	for key, c := range t.clusters {
		if now-c.asked > electionForget.Milliseconds() {
			delete(t.clusters, key)
		}
	}
}

func (t *electionTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.clusters)
}

// ownerClock is the time in ms that leases are counted in. It starts above zero, which
// is never, and does not follow the wall clock.
func (e *Election) ownerClock() int64 { return e.cfg.Now().Sub(e.started).Milliseconds() + 1 }

// ServeHTTP answers POST /internal/v1/election. It does not authenticate; who mounts it
// does.
func (e *Election) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method not allowed; send POST", http.StatusMethodNotAllowed)
		return
	}
	var req electionRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, electionBytesMax)).Decode(&req); err != nil {
		http.Error(w, "cannot decode", http.StatusBadRequest)
		return
	}
	if req.Version != electionVersion {
		http.Error(w, "run the same version of penstock on all members", http.StatusBadRequest)
		return
	}
	if req.ClusterLabel != e.cfg.ClusterLabel || req.ReplicaLabel != e.cfg.ReplicaLabel {
		http.Error(w, fmt.Sprintf("labels of HA clusters and replicas are %.80q and %.80q here, %.80q and %.80q there; give all members the same",
			e.cfg.ClusterLabel, e.cfg.ReplicaLabel, req.ClusterLabel, req.ReplicaLabel), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The coordinator may have gone; it asks again.
	_ = json.NewEncoder(w).Encode(electionReply{electionVersion, e.owned.answer(e.ownerClock(), req.Questions)})
}
