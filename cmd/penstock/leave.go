// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	// leaveGrace is how long a member that is stopping goes on serving after it has gossiped
	// LEAVING, and after the last request that came: gossip reaches every member in a few
	// hundred milliseconds, and a load balancer that has turned away sends nothing for a second.
	leaveGrace = time.Second
	// leaveGraceMax bounds it, as a sender that does not care for /-/ready never turns away. It
	// is more than what the checks in deploy/ need to see that it fails.
	leaveGraceMax = 5 * time.Second
)

// announceLeaving is the first step of stopping: the other members write hints
// for this one and the load balancer turns away before a socket closes.
func (s *server) announceLeaving() error {
	s.stopping.Store(true)
	if s.cluster == nil || s.left() {
		return nil
	}
	err := s.members.SetState(ring.Leaving)
	begin := time.Now()
	for {
		wait := s.traffic.untilQuiet(begin, time.Now())
		if wait <= 0 {
			return err
		}
		time.Sleep(wait)
	}
}

// traffic knows when the last request came. Safe for concurrent use.
type traffic struct{ last atomic.Int64 } // Unix ns

// untilQuiet is how long a member that began to stop at begin still has to serve.
func (t *traffic) untilQuiet(begin, now time.Time) time.Duration {
	quiet, most := begin.Add(leaveGrace), begin.Add(leaveGraceMax)
	if since := time.Unix(0, t.last.Load()).Add(leaveGrace); since.After(quiet) {
		quiet = since
	}
	if quiet.After(most) {
		quiet = most
	}
	return quiet.Sub(now)
}

// watch notes the requests to next, except for those of health checks and scrapes, which
// never end. While the node stops each connection is used once more and then closed by
// agreement: one that is closed while it is idle takes a request with it that was just
// being sent, and neither a balancer nor a client repeats a POST on its own.
func (t *traffic) watch(next http.Handler, stopping func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// There may be the prefix of --web.external-url before them.
		if !strings.Contains(r.URL.Path, "/-/") && !strings.HasSuffix(r.URL.Path, "/metrics") {
			t.last.Store(time.Now().UnixNano())
		}
		if stopping() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
