// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTurnsKeepACoreForWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Cores: 4}, slog.New(slog.DiscardHandler), nil)
		var computing atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 10 {
			go func() {
				if b.turns.take(ctx) == nil {
					computing.Add(1)
				}
			}()
		}
		synctest.Wait()
		require.EqualValues(t, 4, computing.Load(), "without writes")
		b.Writing()
		b.turns.give()
		synctest.Wait()
		require.EqualValues(t, 4, computing.Load(), "three are left, and none began")
		b.turns.give()
		synctest.Wait()
		require.EqualValues(t, 5, computing.Load())
		time.Sleep(reserveFor)
		b.turns.give()
		synctest.Wait()
		require.EqualValues(t, 7, computing.Load(), "writes have stopped")
		cancel()
		synctest.Wait()
		require.Zero(t, b.turns.waiting.Load())
		require.Equal(t, 4, b.turns.running)
	})
}

func TestOneCoreComputes(t *testing.T) {
	b := New(Config{Cores: 1}, slog.New(slog.DiscardHandler), nil)
	b.Writing()
	require.Equal(t, 1, b.turns.capacity())
}

func TestTurnsAreHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Cores: 1}, slog.New(slog.DiscardHandler), nil)
		first := &turn{turns: b.turns, ctx: t.Context()}
		require.False(t, b.Computing())
		require.NoError(t, first.begin())
		require.True(t, b.Computing())
		require.NoError(t, first.yield())
		require.True(t, first.held, "nobody waits")

		second := &turn{turns: b.turns, ctx: t.Context()}
		go func() { _ = second.begin() }()
		synctest.Wait()
		require.NoError(t, first.yield())
		require.True(t, first.held, "it has just begun")
		time.Sleep(turnSlice)
		back := make(chan error, 1)
		go func() { back <- first.yield() }()
		synctest.Wait()
		require.True(t, second.held)
		second.stop()
		second.stop() // Has nothing to give back.
		require.NoError(t, <-back)
		require.True(t, first.held)
		first.stop()
		require.Zero(t, b.turns.running)

		var none *turn
		require.NoError(t, none.begin())
		require.NoError(t, none.yield())
		none.stop()
	})
}

// Whose silence would be taken for a failure does not wait for ever.
func TestTurnIsACourtesy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Cores: 1}, slog.New(slog.DiscardHandler), nil)
		done, err := b.Turn(t.Context())
		require.NoError(t, err)
		start := time.Now()
		other, err := b.Turn(t.Context())
		require.NoError(t, err)
		require.Equal(t, courtesy, time.Since(start))
		other()
		require.Equal(t, 1, b.turns.running)
		done()
		require.Zero(t, b.turns.running)

		done, err = b.Turn(t.Context())
		require.NoError(t, err)
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = b.Turn(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
}
