// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// demoSignals ties the demo to the signals by which a user ends it. The first
// ends running: stop in order. The second ends patient: stop without waiting
// for anything. A closed terminal counts as a Ctrl-C. The caller calls release
// when all is cleaned up; until then no signal but SIGKILL cuts that short.
func demoSignals(ctx context.Context) (running, patient context.Context, release func()) {
	running, stop := context.WithCancel(ctx)
	patient, hurry := context.WithCancel(context.Background())

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// With a handler, writing to a pipe that `head` has closed is an error that
	// ends the demo in order; without one it would kill the process on the spot.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)

	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, next := range []context.CancelFunc{stop, hurry} {
			select {
			case <-signals:
				next()
			case <-done:
				return
			}
		}
	}()
	return running, patient, func() {
		signal.Stop(signals)
		signal.Stop(pipe)
		close(done)
		<-ended
		stop()
		hurry()
	}
}
