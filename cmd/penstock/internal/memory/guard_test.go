// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"math"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestGuardShedsSeriesFirst(t *testing.T) {
	used := int64(0)
	g := NewGuard(Config{LimitBytes: 1000, Read: func() Usage { return Usage{Bytes: used} }}, nil)
	f := func(bytes int64, series, writes error) {
		t.Helper()
		used = bytes
		g.look()
		require.Equal(t, series, g.AdmitSeries())
		require.Equal(t, writes, g.AdmitWrite())
	}
	f(0, nil, nil)
	f(799, nil, nil)
	f(800, ErrNoSeries, nil)
	f(899, ErrNoSeries, nil)
	f(900, ErrNoSeries, ErrNoWrites)
	f(5000, ErrNoSeries, ErrNoWrites)
	f(700, nil, nil)
	require.InDelta(t, 4, testutil.ToFloat64(g.refused[ErrNoSeries]), 0)
	require.InDelta(t, 2, testutil.ToFloat64(g.refused[ErrNoWrites]), 0)
}

func TestGuardWithoutALimitAdmitsAll(t *testing.T) {
	for _, limit := range []int64{0, -1, math.MaxInt64} {
		g := NewGuard(Config{LimitBytes: limit, Read: func() Usage { return Usage{Bytes: math.MaxInt64 / 2} }}, nil)
		g.look()
		require.NoError(t, g.AdmitSeries())
		require.NoError(t, g.AdmitWrite())
	}
}

// The usage must follow what is live, and not what was allocated.
func TestReadRuntimeFollowsLiveMemory(t *testing.T) {
	const size = 64 << 20
	runtime.GC()
	before := readRuntime()
	held := make([]byte, size)
	for i := range held {
		held[i] = 1
	}
	runtime.GC()
	with := readRuntime()
	require.Greater(t, with.Bytes-before.Bytes, int64(size/2))
	require.Greater(t, with.Collections, before.Collections)
	require.EqualValues(t, 1, held[size-1])
	held = nil
	_ = held
	runtime.GC()
	require.Less(t, readRuntime().Bytes-before.Bytes, int64(size/2))
}

func BenchmarkAdmit(b *testing.B) {
	g := NewGuard(Config{LimitBytes: 1000, Read: readRuntime}, nil)
	for b.Loop() {
		_ = g.AdmitSeries()
	}
}

func BenchmarkReadRuntime(b *testing.B) {
	for b.Loop() {
		readRuntime()
	}
}
