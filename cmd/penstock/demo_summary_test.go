// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/cmd/penstock/internal/workload"
)

func testSummary() demoSummary {
	now := time.Unix(1_700_000_000, 0)
	return demoSummary{
		now:     now,
		elapsed: 75 * time.Second,
		senders: []demoSenderView{
			{replica: "a", protocol: workload.V1, series: 1000, perSecond: 414.4, stats: workload.Stats{Samples: 31080, Retries: 2}},
			{replica: "b", protocol: workload.V2, series: 1000, perSecond: 413.6, stats: workload.Stats{Samples: 31080, Failed: 5}},
		},
		nodes: []demoNodeView{
			{
				name: "node-1", url: "http://127.0.0.1:9009", process: demoNodeState{pid: 4711}, answers: true,
				state: "ACTIVE", ring: "9f86d081884c7d65", alive: 1, members: 3,
				headSeries: 2000, appended: 1234567, uploads: 0, hints: 12,
			},
			{
				name: "node-2", url: "http://127.0.0.1:9010", process: demoNodeState{restartAt: now.Add(9 * time.Second)},
				headSeries: math.NaN(), appended: math.NaN(), uploads: math.NaN(), hints: math.NaN(),
			},
			{
				name: "node-3", url: "http://127.0.0.1:9011", process: demoNodeState{pid: 4713},
				headSeries: math.NaN(), appended: math.NaN(), uploads: math.NaN(), hints: math.NaN(),
			},
		},
	}
}

func TestSummaryTable(t *testing.T) {
	want := strings.TrimPrefix(`
SENDER     PROTOCOL  SAMPLES/S  SENT    RETRIES  FAILED
replica a  RW 1.0    414        31,080  2        0
replica b  RW 2.0    414        31,080  0        5

NODE    PID   STATE               MEMBERS  RING    SERIES  SAMPLES    HINTS  BLOCKS UPLOADED  URL
node-1  4711  ACTIVE              1/3      9f86d0  2,000   1,234,567  12     0                http://127.0.0.1:9009
node-2  -     DOWN, starts in 9s  -        -       -       -          -      -                http://127.0.0.1:9010
node-3  4713  NO ANSWER           -        -       -       -          -      -                http://127.0.0.1:9011

2,000 series are sent, 2,000 copies of them are held: 1.0 each. Running for 1m15s.`, "\n")
	require.Equal(t, want, strings.Join(testSummary().table(), "\n"))
}

func TestSummaryLines(t *testing.T) {
	want := []string{
		`t=1m15s sender=a protocol=1.0 samples_per_second=414 samples=31080 retries=2 failed=0`,
		`t=1m15s sender=b protocol=2.0 samples_per_second=414 samples=31080 retries=0 failed=5`,
		`t=1m15s node=node-1 pid=4711 state="ACTIVE" members=1/3 ring=9f86d0 series=2000 samples=1234567 hints=12 uploaded=0 url=http://127.0.0.1:9009`,
		`t=1m15s node=node-2 pid=- state="DOWN, starts in 9s" members=- ring=- series=- samples=- hints=- uploaded=- url=http://127.0.0.1:9010`,
		`t=1m15s node=node-3 pid=4713 state="NO ANSWER" members=- ring=- series=- samples=- hints=- uploaded=- url=http://127.0.0.1:9011`,
	}
	require.Equal(t, want, testSummary().lines())
}

func TestThousands(t *testing.T) {
	f := func(in float64, want string) {
		t.Helper()
		require.Equal(t, want, thousands(in))
	}
	f(0, "0")
	f(999, "999")
	f(1000, "1,000")
	f(123456, "123,456")
	f(1234567, "1,234,567")
	f(math.NaN(), "-")
}

// A terminal is modelled as far as the screen uses it: lines, and the sequence
// that moves up and clears.
func TestScreenRewritesItsTableOnATerminal(t *testing.T) {
	var out strings.Builder
	s := &demoScreen{out: &out, terminal: true, width: func() int { return 40 }}
	s.print("hello")
	require.Equal(t, "hello\n", out.String())

	require.NoError(t, s.show(testSummary()))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")[1:]
	require.Len(t, lines, len(testSummary().table()))
	for _, line := range lines {
		require.LessOrEqual(t, len(line), 40, "a line that wraps breaks the next rewrite")
	}

	out.Reset()
	require.NoError(t, s.show(testSummary()))
	require.True(t, strings.HasPrefix(out.String(), "\x1b[10A\r\x1b[J"), "got %q", out.String())

	out.Reset()
	s.print("node-2 ended")
	require.True(t, strings.HasPrefix(out.String(), "\x1b[10A\r\x1b[Jnode-2 ended\nSENDER"), "the text goes above the table, got %q", out.String())

	out.Reset()
	s.closeTable()
	require.NoError(t, s.show(testSummary()))
	s.print("stopped")
	require.Equal(t, "stopped\n", out.String(), "after closing, text goes below the table")
}

func TestScreenIsPlainWithoutATerminal(t *testing.T) {
	var out strings.Builder
	s := newDemoScreen(&out)
	require.Equal(t, demoRefreshPlain, s.refresh)
	s.print("hello")
	require.NoError(t, s.show(testSummary()))
	require.NoError(t, s.show(testSummary()))
	require.NotContains(t, out.String(), "\x1b")
	require.Equal(t, 1+2*len(testSummary().lines()), strings.Count(out.String(), "\n"))
}

func TestRateWindow(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var w rateWindow
	// 500 samples every 5 s, looked at every 2 s.
	for s := 0; s <= 60; s += 2 {
		late := time.Duration(s%3) * 100 * time.Millisecond
		rate := w.add(start.Add(time.Duration(s)*time.Second+late), uint64(s/5*500))
		if s == 0 {
			require.Zero(t, rate)
		}
		if s >= 10 {
			require.InDelta(t, 100, rate, 3, "at %d s", s)
		}
	}
	// Then nothing more: the rate is 0 once the window has passed.
	for s := 62; s <= 72; s += 2 {
		rate := w.add(start.Add(time.Duration(s)*time.Second), 60/5*500)
		require.LessOrEqual(t, rate, 103.0)
		if s >= 70 {
			require.Zero(t, rate)
		}
	}
}

func TestPollNode(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`# TYPE penstock_hint_pending_records gauge
penstock_hint_pending_records{member="node-2"} 3
penstock_hint_pending_records{member="node-3"} 4
# TYPE penstock_tsdb_appended_samples_total counter
penstock_tsdb_appended_samples_total 1.5e+06
penstock_tsdb_head_series 9
`))
	})
	mux.HandleFunc("/api/v1/status/ring", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"status":"success","data":{"version":"ab","self":"node-1","members":[
			{"name":"node-1","state":"ACTIVE","alive":true},{"name":"node-2","state":"LEAVING","alive":false},
			{"name":"node-9","state":"LEFT","alive":false,"forgotten":true}]}}`))
	})
	srv := httptest.NewServer(mux)
	n := &demoNode{addrs: demoAddrs{name: "node-1", http: strings.TrimPrefix(srv.URL, "http://")}, state: demoNodeState{pid: 1}}

	v := pollNode(t.Context(), srv.Client(), n)
	require.True(t, v.answers)
	require.Equal(t, "ACTIVE", v.state)
	require.Equal(t, "1/2", v.membersText())
	require.Equal(t, "ab", v.ringText())
	require.Equal(t, 7.0, v.hints)
	require.Equal(t, 1.5e6, v.appended)
	require.Equal(t, 9.0, v.headSeries)
	require.True(t, math.IsNaN(v.uploads), "a figure that the node does not tell is not 0")

	srv.Close()
	v = pollNode(t.Context(), srv.Client(), n)
	require.Equal(t, "NO ANSWER", v.stateText(time.Now()))
	n.state = demoNodeState{}
	v = pollNode(t.Context(), srv.Client(), n)
	require.Contains(t, v.stateText(time.Now()), "DOWN")
}
