// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

const gib = 1 << 30

// open opens an account that holds so much.
func open(b *Books, bytes int64) (a *Account, ctx context.Context, finish func()) {
	a = &Account{limits: Limits{}}
	ctx, finish = b.account(context.Background(), a)
	a.grow(bytes)
	return a, ctx, finish
}

func TestTheHeaviestEndsFirst(t *testing.T) {
	var log bytes.Buffer
	b := New(Config{}, slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	light, _, _ := open(b, 10<<20)
	heavy, ctx, finish := open(b, 800<<20)
	middle, _, _ := open(b, 200<<20)
	w := watch{books: b}

	w.look(Usage{Bytes: 2 * gib, Limit: 4 * gib, Collections: 1})
	require.NoError(t, heavy.reason(), "half of the limit")
	w.look(Usage{Bytes: 3 * gib, Limit: 4 * gib, Collections: 2})
	var reason *Error
	require.ErrorAs(t, heavy.reason(), &reason)
	require.Equal(t, Memory, reason.Limit)
	require.Equal(t, 422, reason.Status)
	require.ErrorContains(t, reason, "the query was ended because this node is short of memory and no other query held as much: it held about 800 MiB, "+
		"the node uses 3072 of 4096 MiB and ends queries from 75 % on")
	require.Equal(t, error(reason), context.Cause(ctx))
	require.Contains(t, log.String(), `msg="query ended to free memory"`)
	require.InDelta(t, 1, testutil.ToFloat64(b.metrics.refusals.WithLabelValues(string(Memory))), 0)

	// It is given time to go; then its memory must have been collected.
	w.look(Usage{Bytes: 3 * gib, Limit: 4 * gib, Collections: 3})
	require.NoError(t, middle.reason())
	finish()
	w.look(Usage{Bytes: 3 * gib, Limit: 4 * gib, Collections: 3})
	require.NoError(t, middle.reason())
	w.look(Usage{Bytes: 3 * gib, Limit: 4 * gib, Collections: 4})
	require.NoError(t, middle.reason(), "what has gone may be counted")
	w.collections.Wait()
	w.look(Usage{Bytes: 3 * gib, Limit: 4 * gib, Collections: 5})
	require.Error(t, middle.reason())
	require.NoError(t, light.reason())
}

// What queries have come to hold since garbage was collected counts: the measure is older than they are.
func TestWhatGrowsBetweenCollections(t *testing.T) {
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	a, _, _ := open(b, 100<<20)
	w := watch{books: b}
	w.look(Usage{Bytes: 2 * gib, Limit: 4 * gib, Collections: 1})
	a.grow(900 << 20)
	w.look(Usage{Bytes: 2 * gib, Limit: 4 * gib, Collections: 1})
	require.NoError(t, a.reason())
	a.grow(200 << 20)
	w.look(Usage{Bytes: 2 * gib, Limit: 4 * gib, Collections: 1})
	require.Error(t, a.reason())
}

func TestQueriesAreNotToBlame(t *testing.T) {
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	a, _, _ := open(b, 100<<20)
	w := watch{books: b}
	w.look(Usage{Bytes: 4 * gib, Limit: 4 * gib, Collections: 1})
	require.NoError(t, a.reason(), "less than a twentieth")
	w.look(Usage{Bytes: 4 * gib, Collections: 1})
	require.NoError(t, a.reason(), "no limit")
	for range 100 {
		open(b, 10<<20)
	}
	require.NoError(t, a.end(nil)) // Going already.
	w.look(Usage{Bytes: 4 * gib, Limit: 4 * gib, Collections: 1})
	for _, other := range b.accounts() {
		require.NoError(t, other.reason(), "none holds much")
	}
}

// What the text of an answer takes is asked for before it is made.
func TestRoomForAnswers(t *testing.T) {
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	a, _, _ := open(b, 100<<20)
	b.roomForAnswer(a, gib)
	require.NoError(t, a.reason(), "nothing was measured")
	w := watch{books: b}
	w.look(Usage{Bytes: 2 * gib, Limit: 4 * gib, Collections: 1})
	a.grow(gib)
	b.roomForAnswer(a, gib)
	require.NoError(t, a.reason())
	a.grow(gib / 2)
	b.roomForAnswer(a, 1<<20)
	require.NoError(t, a.reason(), "a small one")
	b.roomForAnswer(a, gib/2)
	require.ErrorContains(t, a.reason(), "no memory for its answer, which takes about 512 MiB: with it the node would use 3584 of 4096 MiB, and the limit for answers is 85 %")
}

// Several go at once if one is not enough.
func TestAsManyAsNeedBe(t *testing.T) {
	b := New(Config{}, slog.New(slog.DiscardHandler), nil)
	w := watch{books: b}
	w.look(Usage{Bytes: gib, Limit: 4 * gib, Collections: 1})
	for range 10 {
		open(b, gib/2)
	}
	w.look(Usage{Bytes: gib, Limit: 4 * gib, Collections: 1})
	ended := 0
	for _, a := range b.accounts() {
		if a.reason() != nil {
			ended++
		}
	}
	require.Equal(t, 7, ended, "six gigabytes are used, and less than three are left")
}

func TestRunEndsQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Memory: func() Usage { return Usage{Bytes: 4 * gib, Limit: 4 * gib, Collections: 1} }}, slog.New(slog.DiscardHandler), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		_, first, _ := open(b, 2*gib)
		_, second, _ := open(b, gib)
		<-first.Done()
		require.NoError(t, second.Err())
		start := time.Now()
		<-second.Done() // The first does not go.
		require.GreaterOrEqual(t, time.Since(start), graceAfter)
		cancel()
		require.NoError(t, <-done)
	})
}
