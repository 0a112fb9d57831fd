// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/stretchr/testify/require"
)

// errOwn is how the account of a query ends it.
var errOwn = fmt.Errorf("account: %w", promql.ErrQueryTimeout("too slow"))

// airport plays flights: each run waits until it is told to end, or its context ends.
type airport struct {
	*flights

	runs    int // Begun.
	land    chan struct{}
	ended   []error // How each run's context was at its end.
	release int
}

func newAirport() *airport {
	shared := prometheus.NewCounter(prometheus.CounterOpts{Name: "shared"})
	return &airport{flights: newFlights(shared), land: make(chan struct{})}
}

// traveller is one who asks.
type traveller struct {
	out   outcome
	letGo func()
	done  bool
}

func (a *airport) ask(ctx context.Context) *traveller {
	p := &traveller{}
	go func() {
		p.out, p.letGo = a.do(ctx, "key", "query", func(ctx context.Context) outcome {
			a.runs++ // One run at a time.
			number := promql.Scalar{V: float64(a.runs)}
			select {
			case <-a.land:
			case <-ctx.Done():
			}
			a.ended = append(a.ended, ctx.Err())
			if ctx.Err() != nil {
				return outcome{err: promql.ErrQueryCanceled("expression evaluation"), release: func() { a.release++ }}
			}
			return outcome{value: number, release: func() { a.release++ }}
		})
		p.done = true
	}()
	synctest.Wait()
	return p
}

func (a *airport) end() {
	a.land <- struct{}{}
	synctest.Wait()
}

// TestOneRunForAllWhoWait: who comes while a run is under way gets the next, together with all others.
func TestOneRunForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirport()
		first := a.ask(t.Context())
		var others []*traveller
		for range 20 {
			others = append(others, a.ask(t.Context()))
		}
		require.Equal(t, 1, a.runs)
		a.end()
		require.True(t, first.done)
		require.Equal(t, 1.0, first.out.value.(promql.Scalar).V)
		require.Equal(t, 2, a.runs)
		late := a.ask(t.Context())
		a.end()
		for _, o := range others {
			require.True(t, o.done)
			require.Equal(t, 2.0, o.out.value.(promql.Scalar).V, "an answer must not be older than its question")
		}
		require.False(t, late.done)
		a.end()
		require.True(t, late.done)
		require.Equal(t, 3, a.runs)
		require.Equal(t, 19.0, counted(t, a.shared.(prometheus.Counter)))
		require.Empty(t, a.running)
		require.Zero(t, a.release)
		first.letGo()
		first.letGo()
		require.Equal(t, 1, a.release)
		for _, o := range others {
			require.Equal(t, 1, a.release)
			o.letGo()
		}
		require.Equal(t, 2, a.release)
	})
}

// TestLeavingEndsNothingForOthers: a run ends with the last who waits for it.
func TestLeavingEndsNothingForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirport()
		a.ask(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		b, c := a.ask(ctx), a.ask(t.Context())
		a.end()
		require.Equal(t, 2, a.runs)
		cancel()
		synctest.Wait()
		require.True(t, b.done)
		require.ErrorIs(t, b.out.err, promql.ErrQueryCanceled("expression evaluation"))
		require.False(t, c.done)
		a.end()
		require.NoError(t, c.out.err)
		require.Equal(t, []error{nil, nil}, a.ended)
	})
}

// TestLastOneOut: the run that nobody waits for is called off, and its end is waited for. What was not begun is not.
func TestLastOneOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirport()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p := a.ask(ctx)
		other, cancelOther := context.WithCancel(t.Context())
		next := a.ask(other)
		cancelOther()
		synctest.Wait()
		require.True(t, next.done)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.True(t, p.done)
		require.ErrorIs(t, p.out.err, promql.ErrQueryTimeout("expression evaluation"))
		require.Equal(t, []error{context.Canceled}, a.ended)
		require.Equal(t, 1, a.runs)
		require.Equal(t, 1, a.release)
		require.Empty(t, a.running)
	})
}

// TestEndedForAReason: what ends a query for what it costs ends the run for all, who are told why.
func TestEndedForAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirport()
		a.ask(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		b, c := a.ask(ctx), a.ask(t.Context())
		a.end()
		reason := errors.New("no memory")
		cancel(reason)
		synctest.Wait()
		require.True(t, b.done)
		require.True(t, c.done)
		require.ErrorIs(t, c.out.err, reason)
	})
}

// TestRunInTheNameOfAnother: who ends while a run is made in its name ends only itself, even if the run ends with it, as with the account that
// it is made on.
func TestRunInTheNameOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAirport()
		a.ask(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		a.ended = nil
		b := &traveller{}
		go func() {
			b.out, b.letGo = a.do(ctx, "key", "query", func(context.Context) outcome {
				a.runs++
				<-ctx.Done() // The account's, which is that of the request.
				return outcome{err: errOwn}
			})
			b.done = true
		}()
		synctest.Wait()
		c := a.ask(t.Context())
		a.end()
		require.Equal(t, 2, a.runs)
		cancel(errOwn)
		synctest.Wait()
		require.True(t, b.done)
		require.Equal(t, errOwn, b.out.err)
		require.False(t, c.done)
		require.Equal(t, 3, a.runs, "once more, in the name of c")
		a.end()
		require.NoError(t, c.out.err)
		require.Equal(t, 3.0, c.out.value.(promql.Scalar).V)
		require.Empty(t, a.running)
	})
}

// TestPanicIsAnError: above a run nobody catches one.
func TestPanicIsAnError(t *testing.T) {
	a := newAirport()
	out, letGo := a.do(t.Context(), "key", "query", func(context.Context) outcome { panic("oh") })
	letGo()
	require.ErrorContains(t, out.err, "oh")
}
