// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntilQuiet(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct {
		last, now time.Duration // since begin
		want      time.Duration
	}{
		"nothing ever came":       {last: -time.Hour, want: leaveGrace},
		"and the grace is over":   {last: -time.Hour, now: leaveGrace, want: 0},
		"a request before":        {last: -time.Millisecond, want: leaveGrace},
		"a request meanwhile":     {last: 900 * time.Millisecond, now: leaveGrace, want: 900 * time.Millisecond},
		"they go on and on":       {last: 4900 * time.Millisecond, now: 4900 * time.Millisecond, want: 100 * time.Millisecond},
		"but this is long enough": {last: leaveGraceMax, now: leaveGraceMax, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			var tr traffic
			tr.last.Store(begin.Add(c.last).UnixNano())
			require.Equal(t, c.want, tr.untilQuiet(begin, begin.Add(c.now)))
		})
	}
	require.Equal(t, leaveGrace, new(traffic).untilQuiet(begin, begin))
}

// TestStoppingClosesConnectionsByAgreement: whoever still sends to a node that stops is told not to use the connection again.
func TestStoppingClosesConnectionsByAgreement(t *testing.T) {
	var tr traffic
	stopping := false
	srv := httptest.NewServer(tr.watch(http.NotFoundHandler(), func() bool { return stopping }))
	defer srv.Close()
	get := func(path string) *http.Response {
		resp, err := srv.Client().Get(srv.URL + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	for _, path := range []string{"/-/ready", "/-/healthy", "/metrics"} {
		require.False(t, get(path).Close)
	}
	require.Zero(t, tr.last.Load(), "health checks and scrapes are no traffic")
	require.False(t, get("/api/v1/write").Close)
	require.NotZero(t, tr.last.Load())
	stopping = true
	require.True(t, get("/api/v1/write").Close)
	require.True(t, get("/-/ready").Close)
}
