// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

const (
	pathDrain          = "/-/drain"
	pathInternalBlocks = "/internal/v1/blocks/sync"

	// How an answer to pathDrain ends. Scripts look for the first word of the last line.
	drainedLine = "safe to delete"
	stayedLine  = "NOT safe to delete"
)

// drainRun is a drain that is under way or over, and what it has said. One runs at a
// time; whoever asks again meanwhile is told of the same one.
type drainRun struct {
	mu    sync.Mutex
	lines []string
	err   error
	over  bool
	news  chan struct{} // closed and replaced with each line
}

func newDrainRun() *drainRun { return &drainRun{news: make(chan struct{})} }

func (d *drainRun) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
	close(d.news)
	d.news = make(chan struct{})
}

// finish says the last line.
func (d *drainRun) finish(err error, dir string) {
	d.mu.Lock()
	d.over, d.err = true, err
	d.mu.Unlock()
	if err != nil {
		d.say("%s: %s", stayedLine, oneLine(err))
		return
	}
	d.say("%s: stop this member, then delete %s", drainedLine, dir)
}

// after returns the lines from number n on, whether there will be more, and a channel
// that is closed when there are.
func (d *drainRun) after(n int) (lines []string, over bool, news <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines[n:], d.over, d.news
}

// startDrain starts a drain, or returns the one that is under way or was successful.
func (s *server) startDrain(force bool) *drainRun {
	s.drainMu.Lock()
	defer s.drainMu.Unlock()
	if d := s.drainRun; d != nil {
		d.mu.Lock()
		again := d.over && d.err != nil
		d.mu.Unlock()
		if !again {
			return d
		}
	}
	d := newDrainRun()
	s.drainRun = d
	// It belongs to the node: a client that hangs up changes nothing, stopping the node ends it.
	s.background("drain", func(ctx context.Context) error {
		s.logger.Info("draining this member", "force", force)
		err := s.drain(ctx, force, func(format string, args ...any) {
			d.say(format, args...)
			s.logger.Info("drain", "step", fmt.Sprintf(format, args...))
		})
		if err != nil {
			s.logger.Error("drain ended without success", "err", err)
		} else {
			s.logger.Info("drained: this member has left for good")
		}
		d.finish(err, s.cfg.storage.path)
		return nil
	})
	return d
}

// drainHandler drains this member and tells the steps as they happen, a line each. The
// status is 200 before the end is known; the last line tells.
func (s *server) drainHandler(w http.ResponseWriter, r *http.Request) {
	force := false
	if v := r.FormValue("force"); v != "" {
		var err error
		if force, err = strconv.ParseBool(v); err != nil {
			http.Error(w, fmt.Sprintf("invalid parameter \"force\": %.80q is not true or false", v), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := http.NewResponseController(w)
	d := s.startDrain(force)
	for n := 0; ; {
		lines, over, news := d.after(n)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		n += len(lines)
		if over && len(lines) == 0 {
			return
		}
		if err := out.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return // The client is gone; the drain goes on.
		}
		if over {
			continue
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// syncBlocks reads the index of the bucket at the request of a member that leaves.
func (s *server) syncBlocks(w http.ResponseWriter, r *http.Request) {
	if s.blocks != nil {
		if err := s.blocks.Sync(r.Context()); err != nil {
			http.Error(w, "read the index of the bucket: "+err.Error(), http.StatusBadGateway)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}
