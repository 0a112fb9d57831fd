// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
)

func TestLifecycleStopsInReverseAndOnce(t *testing.T) {
	l := newLifecycle(promslog.NewNopLogger())
	var steps []string
	broken := errors.New("broken")
	l.onStop("first", func() error { steps = append(steps, "first"); return nil })
	l.onStop("second", func() error { steps = append(steps, "second"); return broken })
	running := make(chan struct{})
	l.background("loop", func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		steps = append(steps, "loop")
		return ctx.Err()
	})
	<-running

	err := l.stop()
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "second")
	require.Equal(t, []string{"loop", "second", "first"}, steps)
	require.NoError(t, l.stop(), "the second stop has nothing left to do")
	require.Empty(t, l.failed, "a loop that was told to stop has not failed")
}

func TestLifecycleReportsALoopThatFails(t *testing.T) {
	l := newLifecycle(promslog.NewNopLogger())
	broken := errors.New("broken")
	l.background("loop", func(context.Context) error { return broken })
	require.ErrorIs(t, <-l.failed, broken)
	require.NoError(t, l.stop())
}

func TestRunAllStopsTheOthersWhenOneFails(t *testing.T) {
	broken := errors.New("broken")
	err := runAll(t.Context(), []func(context.Context) error{
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		func(context.Context) error { return broken },
	})
	require.ErrorIs(t, err, broken)
}
