// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStatusHandler(t *testing.T) {
	a := Member{Name: "a", Zone: "z1", State: Active, InternalAddr: "10.0.0.1:9095", HTTPAddr: "10.0.0.1:9009", Generation: 5, Holes: true}
	b := Member{Name: "b", Zone: "z2", State: Leaving, Generation: 4, Refilled: 2}
	c := Member{Name: "c", State: Active}
	view := &View{
		Self: "a", Ring: New([]Member{a, b}, 2),
		Members: []MemberStatus{
			{Member: a, Alive: true, LastSeen: testTime},
			{Member: b, LastSeen: testTime, Replaced: 3},
			{Member: c, LastSeen: testTime, Forgotten: true},
		},
	}
	now := testTime.Add(time.Hour)
	got, err := json.MarshalIndent(statusOf(view, now), "", " ")
	require.NoError(t, err)
	require.JSONEq(t, `{
		"version": "`+view.VersionHex()+`", "replicationFactor": 2, "slots": 4096, "self": "a",
		"members": [
			{"name":"a","zone":"z1","state":"ACTIVE","internalAddr":"10.0.0.1:9095","httpAddr":"10.0.0.1:9009","generation":5,"holes":true,"alive":true,"lastSeen":"2026-11-20T13:00:00Z","forgotten":false,"whole":false,"slots":4096},
			{"name":"b","zone":"z2","state":"LEAVING","internalAddr":"","httpAddr":"","generation":4,"refilled":2,"alive":false,"lastSeen":"2026-11-20T12:00:00Z","forgotten":false,"whole":false,"replaced":3,"slots":4096},
			{"name":"c","zone":"","state":"ACTIVE","internalAddr":"","httpAddr":"","generation":0,"alive":false,"lastSeen":"2026-11-20T12:00:00Z","forgotten":true,"whole":true,"slots":0}
		]}`, string(got))

	handler := StatusHandler(func() *View { return view })
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/status/ring", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var body struct {
		Status string
		Data   statusJSON
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, "success", body.Status)
	require.Equal(t, Leaving, body.Data.Members[1].State)

	w = httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/status/ring", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

func TestStatic(t *testing.T) {
	s := NewStatic(Member{Name: "a", State: Joining}, 1)
	require.Equal(t, "a", s.View().Self)
	require.Equal(t, 1, s.View().Alive())
	require.Equal(t, []uint16{0}, s.View().Ring.Owners(17))
	require.NoError(t, s.SetState(Active))
	m, ok := s.View().Member("a")
	require.True(t, ok)
	require.Equal(t, Active, m.State)
	require.True(t, m.Alive && m.InRing())
	_, ok = s.View().Member("b")
	require.False(t, ok)

	require.NoError(t, s.SetData(true, 7))
	m, _ = s.View().Member("a")
	require.True(t, m.Holes)
	require.False(t, m.Whole())
	require.Equal(t, uint64(7), m.Refilled)
	require.NoError(t, s.SetData(false, 7))
	require.True(t, s.View().Members[0].Whole())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Join(ctx))
	require.NoError(t, s.Run(ctx))
	require.NoError(t, s.SetState(Left))
	require.Empty(t, s.View().Ring.Members())
	require.ErrorIs(t, s.SetState(Active), errLeft)
	require.NoError(t, s.Leave(0))
	require.Equal(t, Left, s.View().Members[0].State)
}
