// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// SenderStatus is a row of the ledger as the status page shows it.
type SenderStatus struct {
	// Cluster and Replica are the external labels of the sender. Without both,
	// Address says where it writes from, or is "other" for the sum of all senders that
	// are beyond the bound.
	Cluster string `json:"cluster,omitempty"`
	Replica string `json:"replica,omitempty"`
	Address string `json:"address,omitempty"`

	// Since is when counting began: at the first request since the start of the
	// member, or since the sender was forgotten.
	Since       time.Time `json:"since"`
	LastRequest time.Time `json:"lastRequest"`
	// LastSample is the newest timestamp that was accepted.
	LastSample time.Time `json:"lastSample,omitzero"`
	// LagSeconds is how long ago LastSample is; below zero the sender's clock is ahead.
	LagSeconds float64 `json:"lagSeconds"`

	Requests RequestCounts `json:"requests"`
	Samples  SampleCounts  `json:"samples"`
	// Reasons are the rejected samples by reason.
	Reasons map[Reason]uint64 `json:"rejectedByReason,omitempty"`

	tenant string
}

func (s *sender) status() SenderStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SenderStatus{
		Cluster: s.id.cluster, Replica: s.id.replica, Address: s.id.address,
		Since: s.since.UTC(), LastRequest: s.last.UTC(),
		Requests: s.requests, Samples: s.samples, Reasons: maps.Clone(s.reasons),
		tenant: s.id.tenant,
	}
	if s.newest != 0 {
		st.LastSample = time.UnixMilli(s.newest).UTC()
	}
	return st
}

// settle computes what follows from the rest.
func (s *SenderStatus) settle(now time.Time) {
	c := &s.Samples
	c.Distinct = c.Accepted + c.Restored - c.Duplicate - c.Deduplicated
	if !s.LastSample.IsZero() {
		s.LagSeconds = now.Sub(s.LastSample).Round(time.Millisecond).Seconds()
	}
}

// statuses returns the rows that want names, in the order of their names.
func (l *Ledger) statuses(want func(senderID) bool, now time.Time) []SenderStatus {
	out := []SenderStatus{}
	l.eachRow(func(s *sender) {
		if want(s.id) {
			out = append(out, s.status())
		}
	})
	return sumSenders(out, now)
}

// tenantStatuses returns the rows of a tenant.
func (l *Ledger) tenantStatuses(tenant string) []SenderStatus {
	return l.statuses(func(id senderID) bool { return id.tenant == tenant }, l.cfg.Now())
}

// sumSenders makes one row of the rows of each sender, and sorts them.
func sumSenders(rows []SenderStatus, now time.Time) []SenderStatus {
	slices.SortFunc(rows, func(a, b SenderStatus) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.Cluster, b.Cluster),
			cmp.Compare(a.Replica, b.Replica), cmp.Compare(a.Address, b.Address))
	})
	sums := rows[:0]
	for _, r := range rows {
		if n := len(sums); n > 0 && sums[n-1].sameSender(&r) {
			sums[n-1].add(&r)
		} else {
			sums = append(sums, r)
		}
	}
	for i := range sums {
		sums[i].settle(now)
	}
	return sums
}

func (s *SenderStatus) sameSender(o *SenderStatus) bool {
	return s.tenant == o.tenant && s.Cluster == o.Cluster && s.Replica == o.Replica && s.Address == o.Address
}

// add adds what another member has of the same sender.
func (s *SenderStatus) add(o *SenderStatus) {
	s.Requests.add(o.Requests)
	s.Samples.add(o.Samples)
	for reason, n := range o.Reasons {
		if s.Reasons == nil {
			s.Reasons = map[Reason]uint64{}
		}
		s.Reasons[reason] += n
	}
	if o.Since.Before(s.Since) {
		s.Since = o.Since
	}
	if o.LastRequest.After(s.LastRequest) {
		s.LastRequest = o.LastRequest
	}
	if o.LastSample.After(s.LastSample) {
		s.LastSample = o.LastSample
	}
}
