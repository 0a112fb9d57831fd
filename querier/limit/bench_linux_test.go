// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// BenchmarkAccount is what an account costs: the same queries with one and without, by turns, so that what else the machine does
// weighs on both. The ratio is that of the medians of the thread's CPU time.
func BenchmarkAccount(b *testing.B) {
	r := newRig(b)
	for name, expr := range map[string]string{"rate": `sum(rate(a[1m]))`, "vector": `sum(a)`} {
		b.Run(name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			run := func(q storage.Queryable) time.Duration {
				before := threadCPU(b)
				ctx, finish := r.books.account(context.Background(), &Account{limits: r.limits})
				query, err := r.engine.NewRangeQuery(ctx, q, nil, expr, time.Unix(0, 0), time.Unix(990, 0), 10*time.Second)
				require.NoError(b, err)
				require.NoError(b, query.Exec(ctx).Err)
				query.Close()
				finish()
				return threadCPU(b) - before
			}
			var with, without []time.Duration
			booked := r.store()
			for b.Loop() {
				with = append(with, run(booked))
				without = append(without, run(r.db))
			}
			slices.Sort(with)
			slices.Sort(without)
			b.ReportMetric(float64(with[len(with)/2])/float64(without[len(without)/2]), "ratio")
		})
	}
}

func threadCPU(tb testing.TB) time.Duration {
	const clock = 3 // CLOCK_THREAD_CPUTIME_ID
	var t syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		tb.Fatal(errno)
	}
	return time.Duration(t.Nano())
}
