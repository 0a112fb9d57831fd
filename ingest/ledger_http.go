// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	// PathInternalSenders is where a member tells the others its rows.
	PathInternalSenders = "/internal/v1/senders"
	// senderStatusTimeout bounds the wait for one member; a status page that hangs
	// with the member that it should show is no use.
	senderStatusTimeout = 5 * time.Second
	// senderStatusBytesMax bounds the answer of a member: every row with every reason.
	senderStatusBytesMax = 8 << 20
)

// LedgerStatus is the data of the status page: the rows of one tenant.
type LedgerStatus struct {
	Tenant string `json:"tenant"`
	// Members are those whose rows are summed; Missing did not answer.
	Members []string       `json:"members"`
	Missing []string       `json:"missing,omitempty"`
	Senders []SenderStatus `json:"senders"`
}

// StatusHandler serves the rows of the tenant that the request names, in the envelope
// of Prometheus' API: those of this member, or with cluster=true the sums over all.
func (l *Ledger) StatusHandler() http.Handler { return l.statusHandler(true) }

// InternalStatusHandler serves the rows of this member to the others. It does not
// authenticate; who mounts it does.
func (l *Ledger) InternalStatusHandler() http.Handler { return l.statusHandler(false) }

func (l *Ledger) statusHandler(public bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed: use GET", http.StatusMethodNotAllowed)
			return
		}
		tenant, err := l.cfg.Tenant(r)
		if err != nil {
			writeLedgerError(w, err)
			return
		}
		cluster := false
		if v := r.FormValue("cluster"); v != "" && public {
			if cluster, err = strconv.ParseBool(v); err != nil {
				writeLedgerError(w, fmt.Errorf("invalid parameter \"cluster\": %.80q is not true or false", v))
				return
			}
		}
		status := l.ownStatus(tenant)
		if cluster {
			l.addOthers(r.Context(), &status)
		}
		writeLedgerStatus(w, status)
	})
}

// ledgerAnswer is the envelope of Prometheus' API.
type ledgerAnswer struct {
	Status   string       `json:"status"`
	Data     LedgerStatus `json:"data"`
	Warnings []string     `json:"warnings,omitempty"`
}

func writeLedgerStatus(w http.ResponseWriter, s LedgerStatus) {
	answer := ledgerAnswer{Status: "success", Data: s}
	for _, name := range s.Missing {
		answer.Warnings = append(answer.Warnings, "member "+name+" did not answer; what it received is not counted")
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // The client may be gone; nobody to tell.
}

func writeLedgerError(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "error", "errorType": "bad_data", "error": err.Error()})
}

func (l *Ledger) ownStatus(tenant string) LedgerStatus {
	s := LedgerStatus{Tenant: tenant, Members: []string{}, Senders: l.tenantStatuses(tenant)}
	if l.cfg.View != nil {
		s.Members = append(s.Members, l.cfg.View().Self)
	}
	return s
}

// addOthers adds the rows of the other members, asked all at once.
func (l *Ledger) addOthers(ctx context.Context, s *LedgerStatus) {
	others := l.others()
	replies := make([]LedgerStatus, len(others))
	errs := make([]error, len(others))
	var asked sync.WaitGroup
	for i, m := range others {
		asked.Go(func() {
			if !m.Alive {
				errs[i] = errMemberAway
				return
			}
			replies[i], errs[i] = l.ask(ctx, m.Member, s.Tenant)
		})
	}
	asked.Wait()
	for i, m := range others {
		if errs[i] != nil {
			l.logger.Debug("member did not tell its senders", "member", m.Name, "err", errs[i])
			s.Missing = append(s.Missing, m.Name)
			continue
		}
		s.Members = append(s.Members, m.Name)
		for n := range replies[i].Senders {
			replies[i].Senders[n].tenant = s.Tenant
		}
		s.Senders = append(s.Senders, replies[i].Senders...)
	}
	slices.Sort(s.Members)
	s.Senders = sumSenders(s.Senders, l.cfg.Now())
}

// others are the members that may have rows: all but this one, and those that left.
func (l *Ledger) others() []ring.MemberStatus {
	if l.cfg.View == nil || l.cfg.Client == nil {
		return nil
	}
	view := l.cfg.View()
	return slices.DeleteFunc(slices.Clone(view.Members), func(m ring.MemberStatus) bool {
		return m.Name == view.Self || m.Forgotten || m.State == ring.Left
	})
}

// ask returns the rows that another member has of a tenant.
func (l *Ledger) ask(ctx context.Context, m ring.Member, tenant string) (LedgerStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, senderStatusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.cfg.Scheme+"://"+m.InternalAddr+PathInternalSenders, nil)
	if err != nil {
		return LedgerStatus{}, err
	}
	req.Header.Set(headerTenant, tenant)
	resp, err := l.cfg.Client.Do(req)
	if err != nil {
		return LedgerStatus{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return LedgerStatus{}, &peerError{status: resp.StatusCode, text: "no senders"}
	}
	var answer ledgerAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, senderStatusBytesMax)).Decode(&answer); err != nil {
		return LedgerStatus{}, fmt.Errorf("read senders of member %s: %w", m.Name, err)
	}
	return answer.Data, nil
}
