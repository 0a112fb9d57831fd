// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// ledgerCluster is members that only keep ledgers.
type ledgerCluster struct {
	ledgers []*Ledger
	servers []*httptest.Server
	view    ring.View
}

func newLedgerCluster(t *testing.T, size int) *ledgerCluster {
	t.Helper()
	c := &ledgerCluster{}
	for i := range size {
		l := newTestLedger(t, func(cfg *LedgerConfig) {
			cfg.Client = &http.Client{}
			cfg.View = func() *ring.View {
				view := c.view
				view.Self = memberName(i)
				return &view
			}
		})
		mux := http.NewServeMux()
		mux.Handle(PathInternalSenders, l.InternalStatusHandler())
		mux.Handle(PathInternalAcked, l.InternalAckedHandler())
		srv := httptest.NewServer(mux)
		t.Cleanup(srv.Close)
		c.ledgers, c.servers = append(c.ledgers, l), append(c.servers, srv)
		c.view.Members = append(c.view.Members, ring.MemberStatus{Alive: true, Member: ring.Member{
			Name: memberName(i), State: ring.Active, InternalAddr: strings.TrimPrefix(srv.URL, "http://"),
		}})
	}
	return c
}

// deliver books a request with one sample on a member.
func (c *ledgerCluster) deliver(t *testing.T, member, request int) {
	b := batchOf(t, sent(int64(request+1)*1000, 1, "m"))
	b.wireBuf = append(b.wireBuf[:0], fmt.Sprint("request ", request)...)
	c.ledgers[member].record(httptest.NewRequest(http.MethodPost, "/", nil), b, Outcome{Written: Counts{Samples: 1}})
}

// status asks a member over HTTP.
func (c *ledgerCluster) status(t *testing.T, member int, query string) (LedgerStatus, []string) {
	t.Helper()
	w := httptest.NewRecorder()
	c.ledgers[member].StatusHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/status/senders"+query, nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	var a ledgerAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a.Data, a.Warnings
}

// TestLedgerDuplicatesAcrossMembers delivers requests any number of times to any
// members, while these tell each other at any time: once all are told, each request
// counts once.
func TestLedgerDuplicatesAcrossMembers(t *testing.T) {
	t.Parallel()
	const rounds, requests, deliveries = 60, 4, 14
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		c := newLedgerCluster(t, 3)
		sent := map[int]bool{}
		for range deliveries {
			if rng.IntN(4) == 0 {
				c.ledgers[rng.IntN(3)].tellOthers(t.Context())
				continue
			}
			request := rng.IntN(requests)
			sent[request] = true
			c.deliver(t, rng.IntN(3), request)
		}
		for _, l := range c.ledgers {
			l.tellOthers(t.Context())
		}
		status, _ := c.status(t, rng.IntN(3), "?cluster=true")
		require.EqualValues(t, len(sent), status.Senders[0].Samples.Distinct, "seed %d", seed)
		for _, srv := range c.servers {
			srv.Close()
		}
	}
}

func TestLedgerTellsAgainWhoDidNotListen(t *testing.T) {
	t.Parallel()
	c := newLedgerCluster(t, 2)
	c.deliver(t, 0, 1)
	c.deliver(t, 1, 1)
	addr := c.view.Members[1].InternalAddr
	c.view.Members[1].InternalAddr = "127.0.0.1:1"
	c.ledgers[0].tellOthers(t.Context())
	require.EqualValues(t, 1, testutil.ToFloat64(c.ledgers[0].metrics.exchangeFailures))
	c.view.Members[1].InternalAddr = addr
	for range 3 { // Again and again changes nothing.
		c.ledgers[0].tellOthers(t.Context())
		c.ledgers[0].told = map[string]uint64{}
	}
	status, _ := c.status(t, 0, "?cluster=true")
	require.EqualValues(t, 1, status.Senders[0].Samples.Duplicate)
}

func TestLedgerSumsOverMembers(t *testing.T) {
	t.Parallel()
	c := newLedgerCluster(t, 3)
	for i := range 6 {
		c.deliver(t, i%3, i)
	}
	own, warnings := c.status(t, 0, "")
	require.Equal(t, []string{"m0"}, own.Members)
	require.Empty(t, warnings)
	require.EqualValues(t, 2, own.Senders[0].Samples.Received)

	all, warnings := c.status(t, 0, "?cluster=true")
	require.Equal(t, []string{"m0", "m1", "m2"}, all.Members)
	require.Empty(t, warnings)
	require.Len(t, all.Senders, 1)
	require.EqualValues(t, 6, all.Senders[0].Samples.Received)
	require.EqualValues(t, 6000, all.Senders[0].LastSample.UnixMilli())

	c.view.Members[1].Alive = false
	c.servers[2].Close()
	all, warnings = c.status(t, 0, "?cluster=true")
	require.Equal(t, []string{"m1", "m2"}, all.Missing)
	require.Len(t, warnings, 2)
	require.EqualValues(t, 2, all.Senders[0].Samples.Received)

	for _, bad := range []struct{ query, tenant string }{{"?cluster=perhaps", ""}, {"", "bad"}} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/status/senders"+bad.query, nil)
		r.Header.Set(headerTenant, bad.tenant)
		w := httptest.NewRecorder()
		c.ledgers[0].StatusHandler().ServeHTTP(w, r)
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.Contains(t, w.Body.String(), `"status":"error"`)
	}
}

func TestLedgerRefusesWhatIsNoListOfRequests(t *testing.T) {
	t.Parallel()
	h := newTestLedger(t).InternalAckedHandler()
	for _, size := range []int{1, ackedRecordBytes + 1, (ackedRequestsMax + 1) * ackedRecordBytes} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(make([]byte, size))))
		require.Equal(t, http.StatusBadRequest, w.Code, size)
	}
}

func TestAckedRequestsForget(t *testing.T) {
	t.Parallel()
	a, s, now := newAckedRequests(true), &sender{}, time.Unix(1000, 0)
	f := func(i int) fingerprint { return fingerprint{hi: uint64(i), lo: 1} }
	for i := range 3 * ackedRequestsMax {
		require.Zero(t, a.note(f(i), s, 1, now))
	}
	require.Equal(t, 1, a.note(f(2*ackedRequestsMax), s, 1, now), "the last ones are remembered")
	require.Zero(t, a.note(f(0), s, 1, now), "the first ones are not")
	require.LessOrEqual(t, len(a.own.young)+len(a.own.old), 2*ackedRequestsMax)

	body, next := a.encodeFrom(0)
	require.Len(t, body, ackedRequestsMax*ackedRecordBytes, "a reader that is far behind gets what there is")
	require.EqualValues(t, 3*ackedRequestsMax+2, next)
	require.Equal(t, ackedRecord{f(0), 1}, readAckedRecord(body[len(body)-ackedRecordBytes:]))

	now = now.Add(ackedAge + 1)
	a.note(f(-1), s, 1, now)
	now = now.Add(ackedAge + 1)
	a.note(f(-2), s, 1, now)
	require.Len(t, a.own.old, 1, "age turns the generations too")
	require.Equal(t, 1, a.note(f(-1), s, 1, now))
	require.Equal(t, 2, a.note(f(-1), s, 5, now)+a.note(f(-2), s, 9, now), "only what was accepted before is a duplicate")
}
