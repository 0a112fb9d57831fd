// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestDrain takes one of four members out of a cluster: its samples are in the bucket,
// its slots with the others, and every sample is found before, meanwhile and after.
func TestDrain(t *testing.T) {
	nodes := startCluster(t, 4)
	const series, scrapes = 30, 20
	end := time.Now().Truncate(time.Second)
	for i := range scrapes {
		ts := end.Add(time.Duration(i-scrapes) * time.Second)
		require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[i%4], series, ts, float64(i)))
	}
	requireAll(t, nodes, series, scrapes, end)
	requireRedundant(t, nodes[0])

	var out bytes.Buffer
	require.NoError(t, runDrain(t.Context(), &out, "http://"+nodes[3].srv.internal.addr(), false), out.String())
	require.Contains(t, out.String(), "\nverified: 1 of 1 local blocks are in the bucket\n")
	require.Contains(t, lastLine(out.String()), "safe to delete: stop this member, then delete ")
	waitMembers(t, nodes[:3], 3)
	requireAll(t, nodes[:3], series, scrapes, end)
	require.Equal(t, http.StatusServiceUnavailable, writeSeries(t, nodes[3], series, end, 0), "a drained member takes nothing")

	// Asking again tells the same.
	again := bytes.Buffer{}
	require.NoError(t, runDrain(t.Context(), &again, "http://"+nodes[3].srv.internal.addr(), false))
	require.Equal(t, out.String(), again.String())

	nodes[3].stop(t)
	waitMembers(t, nodes[:3], 3)
	for i := range scrapes {
		ts := end.Add(time.Duration(i) * time.Second)
		require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[i%3], series, ts, float64(i)))
	}
	requireAll(t, nodes[:3], series, 2*scrapes, end.Add(scrapes*time.Second))

	// One more of those that had the samples is gone: what had two copies here has one
	// left and one in the bucket.
	nodes[2].stop(t)
	require.Eventually(t, func() bool { return nodes[0].srv.members.View().Alive() == 2 }, eventually, 10*time.Millisecond)
	requireAll(t, nodes[:2], series, 2*scrapes, end.Add(scrapes*time.Second))

	// The directory is not started on again.
	_, err := newServer(nodes[3].srv.cfg, promslog.NewNopLogger())
	require.ErrorContains(t, err, "was drained 20")
	require.ErrorContains(t, err, "start on an empty one")
}

// TestDrainRefused leaves a member in service that the others cannot spare.
func TestDrainRefused(t *testing.T) {
	nodes := startCluster(t, 3)
	nodes[2].stop(t)
	require.Eventually(t, func() bool { return nodes[0].srv.members.View().Alive() == 2 }, eventually, 10*time.Millisecond)
	var out bytes.Buffer
	err := runDrain(t.Context(), &out, "http://"+nodes[0].srv.internal.addr(), false)
	require.Error(t, err)
	require.Contains(t, lastLine(out.String()), "NOT safe to delete: this member must not leave now: 1 members would be left, and writes need 2: add a member first")
	require.NoError(t, nodes[0].srv.ready())
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[0], 5, time.Now(), 1))

	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	status, body := get(t, nodes[0].url()+"/-/ready?level=nonsense")
	require.Equal(t, http.StatusBadRequest, status, body)
	requireRedundant(t, nodes[1])
}

// TestDrainWaits for a member that is being restarted, and for the hints that it missed.
func TestDrainWaits(t *testing.T) {
	nodes := startCluster(t, 4)
	requireRedundant(t, nodes[0])
	nodes[1].stop(t)
	require.Eventually(t, func() bool { return nodes[3].srv.members.View().Alive() == 3 }, eventually, 10*time.Millisecond)
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[0], 40, time.Now(), 1))

	lines, out := io.Pipe()
	drained := make(chan error, 1)
	go func() {
		drained <- runDrain(t.Context(), out, "http://"+nodes[3].srv.internal.addr(), false)
		_ = out.Close()
	}()
	said := bufio.NewScanner(lines)
	for said.Scan() && !strings.HasPrefix(said.Text(), "waiting: ") {
	}
	require.Contains(t, said.Text(), "waiting: member ")
	nodes[1].start(t)
	last := ""
	for said.Scan() {
		last = said.Text()
	}
	require.Contains(t, last, "safe to delete: stop this member")
	require.NoError(t, <-drained)
}

// TestDrainGoesBack brings a member back whose blocks cannot be uploaded.
func TestDrainGoesBack(t *testing.T) {
	nodes := startCluster(t, 4)
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[0], 40, time.Now(), 1))
	dir := filepath.Join(filepath.Dir(nodes[3].srv.cfg.storage.path), "bucket")
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // A file where the bucket was.
	requireRedundant(t, nodes[0])
	var out bytes.Buffer
	require.Error(t, runDrain(t.Context(), &out, "http://"+nodes[3].srv.internal.addr(), false))
	require.Contains(t, lastLine(out.String()), "NOT safe to delete: upload: ")
	waitMembers(t, nodes, 4)
	require.NoError(t, nodes[3].srv.ready())
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[3], 40, time.Now(), 2))
}

func TestRedundancyReasons(t *testing.T) {
	member := func(name string, state ring.State) ring.MemberStatus {
		return ring.MemberStatus{Member: ring.Member{Name: name, State: state}, Alive: true}
	}
	view := func(rf int, members ...ring.MemberStatus) *ring.View {
		v := &ring.View{Self: "a", Members: members}
		var in []ring.Member
		for _, m := range members {
			if m.InRing() {
				in = append(in, m.Member)
			}
		}
		v.Ring = ring.New(in, rf)
		return v
	}
	a, b := member("a", ring.Active), member("b", ring.Active)
	require.Empty(t, viewReasons(view(2, a, b), ""))
	require.Equal(t, []string{"2 of 3 members that the replication factor needs"}, viewReasons(view(3, a, b), ""))
	down := b
	down.Alive = false
	require.Equal(t, []string{"member b is down"}, viewReasons(view(2, a, down), ""))
	require.Equal(t, []string{"member b is JOINING"}, viewReasons(view(2, a, member("b", ring.Joining)), ""))
	require.Equal(t, []string{"member b is LEAVING"}, viewReasons(view(2, a, member("b", ring.Leaving)), ""))
	require.Empty(t, viewReasons(view(2, a, member("b", ring.Leaving)), "b"))
	require.Empty(t, viewReasons(view(2, a, b, member("c", ring.Left)), ""))
	holes := b
	holes.Holes = true
	require.Equal(t, []string{"member b: lost data, being refilled"}, viewReasons(view(2, a, holes), ""))
	forgotten := member("c", ring.Active)
	forgotten.Alive, forgotten.Forgotten = false, true
	require.Len(t, viewReasons(view(2, a, b, forgotten), ""), 1)

	statuses := map[string]memberStatus{
		"a": {RingVersion: "1", Hints: map[string]int{"b": 3, "c": 1}},
		"b": {RingVersion: "2", NotReady: "replaying"},
	}
	require.Equal(t, []string{
		"member a keeps 3 hints for b", "member a keeps 1 hints for c", "member b is not ready: replaying", "members see different rings",
	}, statusReasons(statuses, ""))
	require.Equal(t, []string{"member a keeps 1 hints for c", "members see different rings"}, statusReasons(statuses, "b"))
}

func TestBlocksNotInBucket(t *testing.T) {
	id := func(n byte) (u ulid.ULID) { u[15] = n; return u }
	meta := func(n byte, sources ...ulid.ULID) bucket.Listed {
		var l bucket.Listed
		l.Meta.BlockMeta = tsdb.BlockMeta{ULID: id(n), Compaction: tsdb.BlockMetaCompaction{Sources: sources}}
		return l
	}
	listing := bucket.Listing{Blocks: []bucket.Listed{meta(1, id(1)), meta(9, id(2), id(3))}}
	require.Empty(t, notIn(listing, []ulid.ULID{id(1), id(2), id(3)}))
	require.Equal(t, []ulid.ULID{id(4)}, notIn(listing, []ulid.ULID{id(1), id(4)}))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// requireRedundant waits until a rollout may go on.
func requireRedundant(t *testing.T, n *testNode) {
	t.Helper()
	var body string
	require.Eventually(t, func() bool {
		var status int
		status, body = get(t, n.url()+"/-/ready?level=redundant")
		return status == http.StatusOK
	}, eventually, 50*time.Millisecond, "%s", &body)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := (&http.Client{}).Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func writeSeries(t *testing.T, n *testNode, series int, ts time.Time, value float64) int {
	t.Helper()
	return write(t, n, "a", series, ts.UnixMilli(), value)
}

// requireAll asks every node for every sample of the last minutes.
func requireAll(t *testing.T, nodes []*testNode, series, samples int, at time.Time) {
	t.Helper()
	for _, n := range nodes {
		a := query(t, n, "sum(count_over_time(test_metric[10m]))", "time", strconv.FormatInt(at.Unix(), 10))
		require.Equal(t, http.StatusOK, a.code, a.Error)
		require.Empty(t, a.Warnings)
		require.NotEmpty(t, a.Data.Result)
		require.Equal(t, strconv.Itoa(series*samples), a.Data.Result[0].Value[1], "samples found by %s", n.srv.identity.Name)
	}
}
