// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestJoinedWrites sends many small requests while a peer is busy: they reach it
// together, and each gets the answer that it would have got alone.
func TestJoinedWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	c.owners[1].verdict = func(name string) Verdict {
		if strings.HasPrefix(name, "bad") {
			return Rejected
		}
		return Accepted
	}
	release := c.block(1)
	var g sync.WaitGroup
	busy := make(chan struct{})
	g.Go(func() {
		close(busy)
		wantCode(t, c.send("first"), http.StatusNoContent)
	})
	<-busy
	queue := func() *joinQueue { return &c.dist.peers.get(c.currentView().Members[1].Member).joins }
	require.Eventually(t, func() bool {
		q := queue()
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.running > 0
	}, 10*time.Second, time.Millisecond)
	const writes = 30
	for n := range writes {
		g.Go(func() {
			good, bad := fmt.Sprint("good_", n), fmt.Sprint("bad_", n)
			if n%3 > 0 {
				wantCode(t, c.send(good), http.StatusNoContent)
				return
			}
			w := c.send(bad, good)
			wantCode(t, w, http.StatusBadRequest)
			if body, written := w.Body.String(), w.Header().Get(headerSamplesWritten); !strings.Contains(body, bad+"{}") || written != "2" {
				t.Errorf("answer of %s: %s samples written, %s", bad, written, body)
			}
		})
	}
	require.Eventually(t, func() bool {
		return c.owners[0].has(fmt.Sprint("good_", writes-1))
	}, 10*time.Second, time.Millisecond)
	release()
	g.Wait()
	for n := range writes {
		require.Equal(t, 2, c.copies(fmt.Sprint("good_", n)))
	}
	require.Zero(t, queue().running)
	require.Empty(t, queue().waiting)
}

// TestOneRequestForSeveralWrites: what waits for a request to end goes as one, and each
// write is told of its own series.
func TestOneRequestForSeveralWrites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, 2)
	c.owners[1].verdict = func(name string) Verdict {
		if name == "s1" {
			return Rejected
		}
		return Accepted
	}
	peer := c.dist.peers.get(c.currentView().Members[1].Member)
	batches := []*Batch{smallBatch(t, testTenant, 1), smallBatch(t, testTenant, 3), smallBatch(t, testTenant, 2)}
	busy, _ := peer.joins.enter(batches[0], batches[0].valid)
	require.Nil(t, busy)
	replies := make([]Reply, len(batches))
	var g sync.WaitGroup
	var joined *joinedWrite
	for i, b := range batches {
		j, n := peer.joins.enter(b, b.valid)
		require.Equal(t, i, n)
		joined = j
	}
	for n := range batches {
		g.Go(func() { replies[n] = peer.writeJoined(t.Context(), joined, n) })
	}
	peer.joins.leave()
	g.Wait()
	require.Equal(t, 1.0, testutil.ToFloat64(c.dist.metrics.peerRequests.WithLabelValues(peerAnswered)))
	require.Equal(t, 3.0, testutil.ToFloat64(c.dist.metrics.peerJoined))
	require.Empty(t, replies[0].Faults)
	for _, r := range replies[1:] {
		require.Len(t, r.Faults, 1)
		require.EqualValues(t, 1, r.Faults[0].Pos)
	}
	require.Zero(t, peer.joins.running)
}

// TestJoinedWritesFailTogether: without an answer none of them has a copy there.
func TestJoinedWritesFailTogether(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.servers[1].Close()
	var g sync.WaitGroup
	for n := range 20 {
		g.Go(func() { wantCode(t, c.send(fmt.Sprint("s", n)), http.StatusNoContent) })
	}
	g.Wait()
	require.Len(t, c.hints.series(t, "m1"), 20)
}

// wantCode may be called from any goroutine.
func wantCode(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("status %d, want %d: %s", w.Code, want, w.Body)
	}
}

func smallBatch(t *testing.T, tenant string, series int) *Batch {
	t.Helper()
	var req prompb.WriteRequest
	for i := range series {
		req.Timeseries = append(req.Timeseries, seriesV1(1, 1, "__name__", fmt.Sprint("s", i)))
	}
	b := batchOf(t, req.Timeseries...)
	b.Tenant = tenant
	return b
}

func started(j *joinedWrite) bool {
	select {
	case <-j.start:
		return true
	default:
		return false
	}
}

func TestJoinQueue(t *testing.T) {
	t.Parallel()
	small, other := smallBatch(t, "a", 2), smallBatch(t, "b", 2)
	large := smallBatch(t, "a", 5000)
	require.Greater(t, large.bytesOf(large.valid), joinPartBytesMax)
	var q joinQueue
	alone := func(b *Batch) {
		t.Helper()
		j, _ := q.enter(b, b.valid)
		require.Nil(t, j)
	}
	joined := func(b *Batch) *joinedWrite {
		t.Helper()
		j, _ := q.enter(b, b.valid)
		require.NotNil(t, j)
		return j
	}
	alone(small) // Nothing is under way.
	first := joined(small)
	require.Same(t, first, joined(small))
	require.NotSame(t, first, joined(other), "tenants are apart")
	alone(large) // Never joined.
	require.Equal(t, 2, q.running)

	q.leave()
	q.leave()
	require.True(t, started(first), "both have started")
	require.Empty(t, q.waiting)
	require.Equal(t, 2, q.running)

	// Bounded by the number of writes.
	full := joined(small)
	for range joinWritesMax - 1 {
		require.Same(t, full, joined(small))
	}
	next := joined(small)
	require.NotSame(t, full, next)
	require.True(t, started(full))
	require.Len(t, full.parts, joinWritesMax)

	// A write that nobody lets go goes by itself.
	q.awaitStart(next)
	require.True(t, started(next))
	q.awaitStart(next)
	require.Equal(t, 4, q.running)
	for range 4 {
		q.leave()
	}
	require.Zero(t, q.running)
	alone(small)
}

// TestJoinedRequest is one request with the series of all parts, of either version.
func TestJoinedRequest(t *testing.T) {
	t.Parallel()
	series := func(names ...string) (out []prompb.TimeSeries) {
		for _, n := range names {
			out = append(out, seriesV1(1, 1, "__name__", n))
		}
		return out
	}
	pool := batchPool{limits: Limits{}.withDefaults()}
	v1, v2 := batchOf(t, series("a", "b")...), pool.get(testTenant)
	var err error
	v2.bodyBuf, err = toV2(series("c", "d", "e")).Marshal()
	require.NoError(t, err)
	require.NoError(t, v2.parse(protoV2, anyTime()))
	j := &joinedWrite{parts: []joinedPart{{batch: v1, part: v1.valid}, {batch: v2, part: []uint32{0, 2}}, {batch: v1, part: []uint32{1}}}}
	raw, err := snappy.Decode(nil, pool.get(testTenant).join(j))
	require.NoError(t, err)
	var got prompb.WriteRequest
	require.NoError(t, got.Unmarshal(raw))
	require.Equal(t, series("a", "b", "c", "e", "b"), got.Timeseries)
}

// TestJoinedReplyIsShared gives random faults to random parts and finds each with the
// part that it is of.
func TestJoinedReplyIsShared(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		j := &joinedWrite{}
		whole, want, at := Reply{All: Accepted}, []Reply{}, uint32(0)
		for range 1 + rnd.IntN(5) {
			b := smallBatch(t, "a", 1+rnd.IntN(4))
			j.parts = append(j.parts, joinedPart{batch: b, part: b.valid})
			own := Reply{All: Accepted}
			for pos := range uint32(len(b.valid)) {
				if rnd.IntN(3) == 0 {
					f := Fault{Pos: pos, Verdict: Rejected, Reason: ReasonTooOld}
					own.Faults = append(own.Faults, f)
					f.Pos += at
					whole.Faults = append(whole.Faults, f)
				}
			}
			want = append(want, own)
			at += uint32(len(b.valid))
		}
		require.NoError(t, j.share(whole))
		for n := range j.parts {
			require.Equal(t, want[n], j.parts[n].reply)
		}
		whole.Faults = append(whole.Faults, Fault{Pos: at, Verdict: Rejected})
		require.Error(t, j.share(whole), "a series that nobody sent")
	}
}
