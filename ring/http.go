// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/json"
	"net/http"
	"time"
)

// statusJSON is the data of /api/v1/status/ring.
type statusJSON struct {
	// Version is the ring version in hex; equal on all members of a healthy cluster.
	Version           string             `json:"version"`
	ReplicationFactor int                `json:"replicationFactor"`
	Slots             int                `json:"slots"`
	Self              string             `json:"self"`
	MinoritySince     time.Time          `json:"minoritySince,omitzero"`
	Members           []memberStatusJSON `json:"members"`
}

type memberStatusJSON struct {
	Member
	Alive     bool      `json:"alive"`
	LastSeen  time.Time `json:"lastSeen"`
	Forgotten bool      `json:"forgotten"`
	// Whole is false while answers count the member as missing; see MemberStatus.Whole.
	Whole    bool   `json:"whole"`
	Replaced uint64 `json:"replaced,omitempty"`
	// Slots is how many of the slots the member owns.
	Slots int `json:"slots"`
}

// StatusHandler serves the ring as this node sees it, in the envelope of
// Prometheus' API.
func StatusHandler(view func() *View) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed: use GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// A write error means that the client is gone: there is nobody to tell.
		_ = json.NewEncoder(w).Encode(struct {
			Status string     `json:"status"`
			Data   statusJSON `json:"data"`
		}{"success", statusOf(view(), time.Now())})
	})
}

// statusOf describes a view. Members that are alive are seen now, whenever the
// view was made.
func statusOf(v *View, now time.Time) statusJSON {
	slots := map[string]int{}
	for i, n := range v.Ring.slotCounts() {
		slots[v.Ring.Members()[i].Name] = n
	}
	s := statusJSON{
		Version: v.VersionHex(), ReplicationFactor: v.Ring.RF(), Slots: Slots,
		Self: v.Self, MinoritySince: timestamp(v.MinoritySince), Members: []memberStatusJSON{},
	}
	for _, m := range v.Members {
		if m.Alive {
			m.LastSeen = timestamp(now)
		}
		s.Members = append(s.Members, memberStatusJSON{
			Member: m.Member, Alive: m.Alive, LastSeen: m.LastSeen, Forgotten: m.Forgotten,
			Whole: m.Whole(), Replaced: m.Replaced, Slots: slots[m.Name],
		})
	}
	return s
}
