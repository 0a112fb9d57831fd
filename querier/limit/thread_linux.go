// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// longSlice is how long a thread that computes for queries asks to keep a core, the most that the kernel takes.
//
// Since Linux 6.12 a thread that wakes with a shorter slice, which all others of the process have, comes first at once where the one
// with the long slice computes. Without, a write that wakes beside a query waits for the end of the query's slice and the next tick, up to
// 4 ms, several times as long as it takes. Each thread's share of the core stays what it was.
// https://docs.kernel.org/scheduler/sched-eevdf.html, sched_setattr(2)
const longSlice = 100 * time.Millisecond

// thread is the thread of a goroutine that computes for queries between enter and leave, both called by that goroutine.
type thread struct {
	was *unix.SchedAttr // Nil if the kernel knows no slices, or does not let us have others.
}

// enter keeps the goroutine on its thread, and has that give way to those of writes. If the kernel does not allow that, queries
// compute as everything else does.
func (t *thread) enter() {
	runtime.LockOSThread()
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil || was.Runtime == 0 || was.Policy != unix.SCHED_NORMAL && was.Policy != unix.SCHED_BATCH {
		return
	}
	long := *was
	long.Runtime = uint64(longSlice)
	if unix.SchedSetAttr(0, &long, 0) == nil {
		t.was = was
	}
}

// leave makes the thread like all others again. If that fails, it ends with the goroutine.
func (t *thread) leave() {
	if t.was == nil || unix.SchedSetAttr(0, t.was, 0) == nil {
		runtime.UnlockOSThread()
	}
	t.was = nil
}
