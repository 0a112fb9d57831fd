// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// notifyHangups delivers SIGHUP, by which an operator has the limits read again. One
// that waits stands for all that come meanwhile.
func notifyHangups() chan os.Signal {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return hangups
}

// reloadOn reads the limits again whenever asked to, until the context ends.
func (s *server) reloadOn(hangups <-chan os.Signal) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangups:
				if err := s.limits.Reload(); err != nil {
					s.logger.Error("reload failed", "err", err)
				}
			}
		}
	}
}

// reload does the same for POST /-/reload, and answers what came of it.
func (s *server) reload(w http.ResponseWriter, _ *http.Request) {
	if err := s.limits.Reload(); err != nil {
		s.logger.Error("reload failed", "err", err)
		http.Error(w, "reload failed: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "reloaded")
}
