// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	pathSurvey    = "/internal/v1/refill"
	surveyVersion = 1
)

// surveyReply is what a member tells one that refills (docs/format/refill.md).
type surveyReply struct {
	Version int      `json:"version"`
	Tenants []string `json:"tenants"`
	// Routing is whether writes that come to the answering member go to the asking one, with
	// the data directory that it has now.
	Routing bool `json:"routing"`
	// OldestHintSeconds is the age of the oldest hint for the asking member; 0 without one.
	OldestHintSeconds float64 `json:"oldest_hint_seconds"`
}

// answerSurvey answers a member that refills. A member that has not opened all its
// TSDBs does not know its tenants, and does not answer.
func (s *server) answerSurvey(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	name := r.FormValue("member")
	generation, err := strconv.ParseUint(r.FormValue("generation"), 10, 64)
	if err != nil {
		http.Error(w, "generation is not a number", http.StatusBadRequest)
		return
	}
	reply := surveyReply{Version: surveyVersion, Routing: routesTo(s.members.View(), name, generation), Tenants: s.store.Tenants()}
	if pending, ok := s.hints.Pending()[name]; ok {
		reply.OldestHintSeconds = max(time.Since(pending.Oldest).Seconds(), 0)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // The asking member sees that it was cut.
}

// routesTo tells whether a member's writes go to another one's data directory.
func routesTo(view *ring.View, name string, generation uint64) bool {
	m, known := view.Member(name)
	return known && m.Alive && m.InRing() && m.State == ring.Active && m.Generation == generation
}
