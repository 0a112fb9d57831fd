// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// twoTenants is a cluster whose tenants have samples of the last hours, and a loss of all of it.
func twoTenants(t testing.TB) (*peers, Loss) {
	now := testNow.UnixMilli()
	p := &peers{dbs: map[string]*tsdb.DB{"a": fill(t, 24, now-3*hour, now), "b": fill(t, 5, now-5*hour, now-hour)}}
	p.survey = Survey{Tenants: []string{"a", "b", "empty"}}
	return p, Loss{ID: "disk", MinTime: 0, MaxTime: now + hour/3, Reason: "disk replaced"}
}

func TestRoundGivesEverythingBack(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	r := newRefiller(t, config(t, d, p))
	require.NoError(t, r.round(t.Context(), d.Losses()))
	require.Empty(t, d.Losses())
	require.Empty(t, d.scratch(t))
	requireRefilled(t, d, "a", p.dbs["a"], 0, loss.MaxTime, nil)
	requireRefilled(t, d, "b", p.dbs["b"], 0, loss.MaxTime, nil)
	requireRefilled(t, d, "empty", p.dbs["a"], 0, 1, nil)

	s := r.Status()
	require.Equal(t, s.RangesTotal, s.RangesDone)
	require.Equal(t, d.added, s.Figures.Blocks)
	require.Equal(t, testNow, s.Finished)
	require.InDelta(t, float64(s.Figures.Samples), testutil.ToFloat64(r.metrics.samples), 0)
	for i := 1; i < len(p.reads); i++ {
		require.LessOrEqual(t, floorDiv(p.reads[i].MinTime, width), floorDiv(p.reads[i-1].MinTime, width), "newest first")
	}

	rec := httptest.NewRecorder()
	r.StatusHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1/status/refill", nil))
	var got struct {
		Status string
		Data   Status
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &got))
	require.Equal(t, "success", got.Status)
	require.Equal(t, s.Figures.Samples, got.Data.Figures.Samples)
}

func TestOnlyOwnedSeriesOfTheLostTimeAndTenant(t *testing.T) {
	p, _ := twoTenants(t)
	now := testNow.UnixMilli()
	loss := Loss{ID: "x", Tenant: "a", MinTime: now - 2*hour, MaxTime: now - hour/2}
	d := newDisk(t, loss)
	cfg := config(t, d, p)
	odd := func(l labels.Labels) bool { return l.Get("i")[3]%2 == 1 }
	cfg.Owns = func(tenant string, _, _ int64) func(labels.Labels) bool {
		require.Equal(t, "a", tenant)
		return odd
	}
	require.NoError(t, newRefiller(t, cfg).round(t.Context(), d.Losses()))
	requireRefilled(t, d, "a", p.dbs["a"], loss.MinTime, loss.MaxTime, odd)
	require.NoDirExists(t, d.dir+"/b")
}

// TestManySeriesAreReadInParts: neither more series than a pass may hold nor a peer's answer that
// is too large ends a refill, and what comes in parts is the same.
func TestManySeriesAreReadInParts(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	cfg := config(t, d, p)
	cfg.MaxSeriesPerPass = 9
	p.before = func(q Query) error {
		if q.Tenant == "b" && q.Parts < 2 {
			return &tooManyError{1}
		}
		return nil
	}
	r := newRefiller(t, cfg)
	require.NoError(t, r.round(t.Context(), d.Losses()))
	require.GreaterOrEqual(t, r.parts["a"], 4)
	requireRefilled(t, d, "a", p.dbs["a"], 0, loss.MaxTime, nil)
	requireRefilled(t, d, "b", p.dbs["b"], 0, loss.MaxTime, nil)
	require.Zero(t, testutil.ToFloat64(r.metrics.failures.WithLabelValues(failRead)))
}

// TestCrashAnywhere ends the process at every step that touches the disk or a peer, and starts
// another one on what is left.
func TestCrashAnywhere(t *testing.T) {
	p, loss := twoTenants(t)
	loss.MinTime = testNow.UnixMilli() - 3*hour // A few ranges will do.
	crashed := 0
	for n := 1; ; n++ {
		d := newDisk(t, loss)
		cfg := config(t, d, p)
		cfg.MaxSeriesPerPass = 13
		ctx, cancel := context.WithCancel(t.Context())
		step := 0
		crash := func() error {
			if step++; step == n {
				cancel() // What runs now goes on to its next look at ctx, as a process does to its next write.
				return errTest
			}
			return ctx.Err()
		}
		p.before = func(Query) error { return crash() }
		d.before = func(string) error { return crash() }
		err := newRefiller(t, cfg).round(ctx, d.Losses())
		cancel()
		if err == nil {
			require.Greater(t, crashed, 10)
			break
		}
		crashed++
		require.Len(t, d.Losses(), 1, "an unfinished refill resolves nothing")

		// The store empties its scratch when it is opened.
		require.NoError(t, os.RemoveAll(d.RefillDir()))
		require.NoError(t, os.Mkdir(d.RefillDir(), 0o777))
		p.before, d.before = nil, nil
		p.reads = nil
		had := d.added
		again := newRefiller(t, cfg)
		require.NoError(t, again.round(t.Context(), d.Losses()))
		require.Empty(t, d.Losses())
		requireRefilled(t, d, "a", p.dbs["a"], loss.MinTime, loss.MaxTime, nil)
		requireRefilled(t, d, "b", p.dbs["b"], loss.MinTime, loss.MaxTime, nil)
		if had > 2 {
			require.Less(t, again.Status().Figures.Blocks, d.added, "it took up where it was")
			require.Equal(t, d.added-had, again.Status().Figures.Blocks)
		}
	}
}

// TestRunTriesAgain: failing peers, stores and streams are repeated until they are well, and
// nothing is resolved before.
func TestRunTriesAgain(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	fails := map[string]int{}
	once := func(what string) error {
		if fails[what]++; fails[what] == 1 {
			return fmt.Errorf("%s: %w", what, errTest)
		}
		return nil
	}
	p.before = func(q Query) error { return once("read") }
	d.before = func(string) error { return once("add") }
	p.wrap = func(set storage.ChunkSeriesSet) storage.ChunkSeriesSet {
		if once("stream") != nil {
			return &brokenSet{set}
		}
		return set
	}
	r := newRefiller(t, config(t, d, p))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	require.Eventually(t, func() bool { return r.Status().State == stateWhole }, 30*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Empty(t, d.Losses())
	requireRefilled(t, d, "a", p.dbs["a"], 0, loss.MaxTime, nil)
	require.InDelta(t, 2, testutil.ToFloat64(r.metrics.failures.WithLabelValues(failRead)), 0)
}

type brokenSet struct{ storage.ChunkSeriesSet }

func (*brokenSet) Next() bool { return false }
func (*brokenSet) Err() error { return errTest }

// TestOneTenantDoesNotHoldUpOthers: a store that refuses one of them, for good perhaps, gets the rest.
func TestOneTenantDoesNotHoldUpOthers(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	d.before = func(tenant string) error {
		if tenant == "a" {
			return errTest
		}
		return nil
	}
	r := newRefiller(t, config(t, d, p))
	require.ErrorIs(t, r.round(t.Context(), d.Losses()), errTest)
	requireRefilled(t, d, "b", p.dbs["b"], 0, loss.MaxTime, nil)
	require.NoDirExists(t, d.dir+"/a")
	require.Empty(t, d.scratch(t))
	require.Len(t, d.Losses(), 1)
}

func TestRoundWaitsForMembers(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	r := newRefiller(t, config(t, d, p))
	p.err = errTest
	require.ErrorIs(t, r.round(t.Context(), d.Losses()), errTest)
	p.err, p.survey.NotRouting = nil, []string{"node-2"}
	require.ErrorContains(t, r.round(t.Context(), d.Losses()), "node-2")
	require.Empty(t, p.reads, "nothing is read before all of them route writes here")
	require.Len(t, d.Losses(), 1)
}

func TestOldHintsAreWaitedFor(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	cfg := config(t, d, p)
	p.survey.OldestHint = time.Hour
	r := newRefiller(t, cfg)
	ended := make(chan error)
	go func() { ended <- r.round(t.Context(), d.Losses()) }()
	require.Eventually(t, func() bool { return r.Status().State == stateHints }, 30*time.Second, time.Millisecond)
	require.Len(t, d.Losses(), 1)
	p.mu.Lock()
	p.survey.OldestHint = 0
	p.mu.Unlock()
	require.NoError(t, <-ended)
	require.Empty(t, d.Losses())
}

func TestNoCopiesAnywhere(t *testing.T) {
	d := newDisk(t, Loss{ID: "x", MinTime: 0, MaxTime: 1})
	r := newRefiller(t, config(t, d, &peers{err: fmt.Errorf("replication factor 1: %w", ErrNoCopies)}))
	require.NoError(t, r.round(t.Context(), d.Losses()))
	require.Empty(t, d.Losses())
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.givenUp), 0)
}

func TestShortRangesAreCounted(t *testing.T) {
	p, loss := twoTenants(t)
	p.lack = []string{"node-1"}
	d := newDisk(t, loss)
	r := newRefiller(t, config(t, d, p))
	require.NoError(t, r.round(t.Context(), d.Losses()))
	s := r.Status()
	require.Equal(t, s.RangesTotal, s.Figures.Short)
	require.InDelta(t, float64(s.RangesTotal), testutil.ToFloat64(r.metrics.ranges.WithLabelValues(outcomeShort)), 0)
}

// TestAMismatchIsDiscarded: what was written is not what was read; nothing of it is taken in, and it is done again.
func TestAMismatchIsDiscarded(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	lies := 1
	p.wrap = func(set storage.ChunkSeriesSet) storage.ChunkSeriesSet {
		if lies == 0 {
			return set
		}
		lies--
		return &lyingSet{set}
	}
	r := newRefiller(t, config(t, d, p))
	require.ErrorContains(t, r.round(t.Context(), d.Losses()), "what was read from the members was")
	require.InDelta(t, 1, testutil.ToFloat64(r.metrics.failures.WithLabelValues(failVerify)), 0)
	require.Empty(t, d.scratch(t))
	require.Len(t, d.Losses(), 1)
	require.NoError(t, r.round(t.Context(), d.Losses()))
	requireRefilled(t, d, "a", p.dbs["a"], 0, loss.MaxTime, nil)
	requireRefilled(t, d, "b", p.dbs["b"], 0, loss.MaxTime, nil)
}

// lyingSet has float chunks that are written other than they read.
type lyingSet struct{ storage.ChunkSeriesSet }

func (s *lyingSet) At() storage.ChunkSeries { return lyingSeries{s.ChunkSeriesSet.At()} }

type lyingSeries struct{ storage.ChunkSeries }

func (s lyingSeries) Iterator(it chunks.Iterator) chunks.Iterator {
	return &lyingIterator{s.ChunkSeries.Iterator(it)}
}

type lyingIterator struct{ chunks.Iterator }

func (i *lyingIterator) At() chunks.Meta {
	m := i.Iterator.At()
	if m.Chunk.Encoding() == chunkenc.EncXOR {
		m.Chunk = lyingChunk{m.Chunk}
	}
	return m
}

type lyingChunk struct{ chunkenc.Chunk }

// Bytes has another first value: it follows the count and the first timestamp, whose length varies.
func (c lyingChunk) Bytes() []byte {
	b := bytes.Clone(c.Chunk.Bytes())
	_, n := binary.Varint(b[2:])
	b[2+n] ^= 1
	return b
}

// TestDigestFindsADifference: a block that is not what was read is thrown away, however well it looks.
func TestDigestFindsADifference(t *testing.T) {
	p, loss := twoTenants(t)
	d := newDisk(t, loss)
	w, err := newBlockWriter(d.RefillDir(), testNow)
	require.NoError(t, err)
	reading, err := p.Read(t.Context(), Query{Tenant: "a", MinTime: 0, MaxTime: testNow.UnixMilli(), Parts: 1})
	require.NoError(t, err)
	for n := 0; reading.Set.Next(); n++ {
		s := reading.Set.At()
		it := s.Iterator(nil)
		_, err := w.add(s.Labels(), it, 0, testNow.UnixMilli())
		require.NoError(t, err)
	}
	require.NoError(t, reading.Close())
	require.NoError(t, w.finish(t.Context(), quiet()))
	back, err := digestOf(t.Context(), w.dir, quiet())
	require.NoError(t, err)
	require.Equal(t, w.digest.Digest, back)
	require.NotZero(t, back.Samples)

	for name, damage := range map[string]func(*Digest){
		"series": func(d *Digest) { d.Series++ }, "samples": func(d *Digest) { d.Samples-- },
		"sum": func(d *Digest) { d.Sum++ }, "xor": func(d *Digest) { d.Xor ^= 1 },
	} {
		other := back
		damage(&other)
		require.NotEqual(t, back, other, name)
	}
	// A bit in the middle of the chunks.
	segment := w.dir + "/chunks/000001"
	raw, err := os.ReadFile(segment)
	require.NoError(t, err)
	raw[len(raw)/2] ^= 4
	require.NoError(t, os.WriteFile(segment, raw, 0o600))
	damaged, err := digestOf(t.Context(), w.dir, quiet())
	require.True(t, err != nil || damaged != back)
	require.NoError(t, w.discard())
	require.Empty(t, d.scratch(t))
}
