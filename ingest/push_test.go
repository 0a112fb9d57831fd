// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func sampleReply() Reply {
	return Reply{All: Accepted, Faults: []Fault{
		{Pos: 0, Verdict: Rejected, Reason: ReasonOutOfOrder, Detail: "timestamp 5: out of order"},
		{Pos: 2, Verdict: Rejected, Items: []uint32{1, 300}, Reason: ReasonTooOld},
		{Pos: 700, Verdict: Unavailable, Reason: ReasonStorage, Detail: "é"},
	}}
}

func TestPushReplyRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []Reply{
		sampleReply(),
		{All: Rejected, Reason: ReasonLimit, Detail: "100 tenants", Faults: []Fault{}},
	} {
		got, err := decodeReply(appendReply(nil, want))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// TestPushReplySample reads the checked-in bytes that docs/format/push.md explains.
func TestPushReplySample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "push_reply_v1.hex"))
	require.NoError(t, err)
	data, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	got, err := decodeReply(data)
	require.NoError(t, err)
	require.Equal(t, sampleReply(), got)
	require.Equal(t, data, appendReply(nil, sampleReply()))
}

// TestPushReplyBounds cuts and damages a reply: it is read in whole or refused, and
// never names what the request did not have.
func TestPushReplyBounds(t *testing.T) {
	t.Parallel()
	good := appendReply(nil, sampleReply())
	for i := range good {
		_, err := decodeReply(good[:i])
		require.Error(t, err)
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := append([]byte(nil), good...)
			damaged[i] ^= flip
			_, _ = decodeReply(damaged) // Must end, and not panic.
		}
	}
	_, err := decodeReply(append(good, 0))
	require.Error(t, err, "trailing bytes")
	_, err = decodeReply([]byte{2, 1, 0, 0, 0})
	require.Error(t, err, "other version")
	_, err = decodeReply([]byte{1, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f})
	require.Error(t, err, "more faults than bytes")

	b := batchOf(t, seriesV1(1, 1, "__name__", "a"), seriesV1(1, 1, "__name__", "b"))
	f := func(ok bool, faults ...Fault) {
		t.Helper()
		r := Reply{All: Accepted, Faults: faults}
		require.Equal(t, ok, r.checkAgainst(b, b.valid) == nil)
	}
	f(true, Fault{Pos: 0, Verdict: Rejected}, Fault{Pos: 1, Verdict: Rejected, Items: []uint32{0}})
	f(false, Fault{Pos: 2, Verdict: Rejected})
	f(false, Fault{Pos: 1, Verdict: Rejected}, Fault{Pos: 0, Verdict: Rejected})
	f(false, Fault{Pos: 0, Verdict: Rejected}, Fault{Pos: 0, Verdict: Rejected})
	f(false, Fault{Pos: 0, Verdict: Rejected, Items: []uint32{1}})
	f(false, Fault{Pos: 0, Verdict: Rejected, Items: []uint32{0, 0}})
	f(false, Fault{Pos: 0, Verdict: Unavailable, Items: []uint32{0}})
}

func TestPushReplyDetailsAreBounded(t *testing.T) {
	t.Parallel()
	r := Reply{All: Accepted}
	for i := range uint32(1000) {
		r.Faults = append(r.Faults, Fault{Pos: i, Verdict: Rejected, Reason: ReasonTooOld, Detail: strings.Repeat("x", 5000)})
	}
	require.Less(t, len(appendReply(nil, r)), 1000*20+pushDetails*300)
}

func TestHintPayload(t *testing.T) {
	t.Parallel()
	payload := appendHint(nil, testTenant, []byte("body"))
	tenant, body, err := readHint(payload)
	require.NoError(t, err)
	require.Equal(t, testTenant, tenant)
	require.Equal(t, "body", string(body))
	for _, bad := range [][]byte{nil, {2}, {1}, {1, 9, 'a'}, {1, 0xff, 0xff}} {
		_, _, err := readHint(bad)
		require.Error(t, err)
	}
}

func TestCircuit(t *testing.T) {
	t.Parallel()
	var c circuit
	now := time.Unix(1000, 0)
	fail := func() {
		require.True(t, c.allow(now))
		c.done(now, false)
	}
	for range circuitFailures - 1 {
		fail()
		require.False(t, c.open())
	}
	// A success in between starts the count again.
	require.True(t, c.allow(now))
	c.done(now, true)
	for range circuitFailures {
		fail()
	}
	require.True(t, c.open())
	require.False(t, c.allow(now))
	now = now.Add(circuitRest)
	// One probe at a time; a failed one opens it again, a good one closes it.
	require.True(t, c.allow(now))
	require.False(t, c.allow(now))
	c.done(now, false)
	require.False(t, c.allow(now))
	now = now.Add(circuitRest)
	require.True(t, c.allow(now))
	c.done(now, true)
	require.False(t, c.open())
	require.True(t, c.allow(now))
	require.True(t, c.allow(now))
}

func TestGate(t *testing.T) {
	t.Parallel()
	g := gate{limit: 10}
	require.True(t, g.enter(50), "alone, anything goes")
	require.False(t, g.enter(1))
	g.leave(50)
	require.True(t, g.enter(6))
	require.False(t, g.enter(5))
	require.True(t, g.enter(4))
	g.leave(6)
	g.leave(4)
	require.Zero(t, g.used.Load())
}

// TestBatchIsCleanWhenReused holds what a pooled batch must not carry over.
func TestBatchIsCleanWhenReused(t *testing.T) {
	t.Parallel()
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get("one")
	data, err := (&prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{seriesV1(1, 1, "__name__", "a"), seriesV1(1, 1, "b", "no name")},
		Metadata:   []prompb.MetricMetadata{{MetricFamilyName: "a"}},
	}).Marshal()
	require.NoError(t, err)
	b.bodyBuf = data
	require.NoError(t, b.parse(protoV1, anyTime()))
	b.wire = data
	pool.put(b)
	require.Empty(t, b.series)
	require.Empty(t, b.valid)
	require.Empty(t, b.refused)
	require.Empty(t, b.metadata)
	require.Empty(t, b.samples)
	require.Empty(t, b.wireBuf)
	require.Empty(t, b.bodyBuf)
	require.Nil(t, b.wire)
	require.Zero(t, b.received)
	require.Nil(t, b.body)
	require.Empty(t, b.extras)
	require.Zero(t, b.extras[:cap(b.extras)][0], "labels are not kept")
}
