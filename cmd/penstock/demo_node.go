// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// The first start of a node takes under a second; a node that is not ready
	// after this has a problem that its log explains.
	demoReadyTimeout = time.Minute
	demoReadyPoll    = 200 * time.Millisecond
)

// demoNode keeps the process of one node running: a node that is killed is
// started again after a while, on the same directory and ports.
type demoNode struct {
	addrs        demoAddrs
	command      func() (*exec.Cmd, error)
	restartDelay time.Duration
	event        func(text string) // tells the user what happened

	mtx   sync.Mutex
	state demoNodeState
}

// demoNodeState is what the demo itself knows of a node.
type demoNodeState struct {
	pid       int       // 0 while it is down
	restartAt time.Time // set while it is down
	wasReady  bool      // it has been ready since the demo started
}

func (n *demoNode) current() demoNodeState {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	return n.state
}

func (n *demoNode) set(change func(*demoNodeState)) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	change(&n.state)
}

// run returns nil when ctx has ended and the process with it. A node that ends
// before it was ever ready is an error, with the end of its log as the cause.
func (n *demoNode) run(ctx, patient context.Context) error {
	for ctx.Err() == nil {
		p, err := n.start()
		if err != nil {
			return fmt.Errorf("start %s: %w", n.addrs.name, err)
		}
		n.set(func(s *demoNodeState) { s.pid, s.restartAt = p.pid(), time.Time{} })
		select {
		case <-ctx.Done():
			p.stop(patient)
			return nil
		case <-p.exited:
		}
		again := time.Now().Add(n.restartDelay)
		n.set(func(s *demoNodeState) { s.pid, s.restartAt = 0, again })
		if !n.current().wasReady {
			return fmt.Errorf("%s ended before it was ready (%w); the end of its log:\n%s", n.addrs.name, p.err, tail(n.addrs.logFile))
		}
		n.event(n.obituary(p))
		_ = sleepUntil(ctx, again) // the loop looks at ctx itself
	}
	return nil
}

func (n *demoNode) start() (*process, error) {
	cmd, err := n.command()
	if err != nil {
		return nil, err
	}
	return startProcess(cmd, n.addrs.logFile)
}

// obituary says how p ended and what happens next.
func (n *demoNode) obituary(p *process) string {
	text := fmt.Sprintf("%s (pid %d) ended: %s. The demo starts it again in %s.", n.addrs.name, p.pid(), p.err, n.restartDelay)
	if p.killed() {
		return text
	}
	return text + " The end of its log:\n" + tail(n.addrs.logFile)
}

// awaitReady returns nil once the node answers that it is ready.
func (n *demoNode) awaitReady(ctx context.Context, client *http.Client) error {
	deadline := time.Now().Add(demoReadyTimeout)
	for {
		err := probeReady(ctx, client, n.addrs.url())
		if err == nil {
			n.set(func(s *demoNodeState) { s.wasReady = true })
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w; the end of its log:\n%s", n.addrs.name, demoReadyTimeout, err, tail(n.addrs.logFile))
		}
		if err := sleepUntil(ctx, time.Now().Add(demoReadyPoll)); err != nil {
			return err
		}
	}
}

func probeReady(ctx context.Context, client *http.Client, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/-/ready", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 512))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// sleepUntil returns nil at t, or the error of ctx when that ends first.
func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
