// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// Results of queries, label "result" of penstock_query_finished_total.
const (
	resultOK       = "ok"
	resultPartial  = "partial"  // Answered, with a warning that samples may be lacking.
	resultLimit    = "limit"    // Ended by a limit.
	resultTimeout  = "timeout"  // Ended by query_timeout.
	resultCanceled = "canceled" // The client has gone, or its own timeout was over.
	resultError    = "error"    // Failed otherwise, such as for what it asks.
)

var results = []string{resultOK, resultPartial, resultLimit, resultTimeout, resultCanceled, resultError}

// canceledStatus is Prometheus' for a client that has gone.
const canceledStatus = 499

func (a *Account) result(r *answer, gone bool) string {
	switch reason := a.reason(); {
	case nameOf(reason) == Timeout:
		return resultTimeout
	case reason != nil:
		return resultLimit
	case gone || r.status == canceledStatus:
		return resultCanceled
	case r.status >= http.StatusBadRequest:
		return resultError
	case a.partial.Load():
		return resultPartial
	}
	return resultOK
}

// attributes are what the log says of a query.
func (a *Account) attributes() []any {
	all := []any{
		"tenant", a.who.Tenant, "remote", a.who.Remote, "forwarded_for", a.who.Forwarded, "user_agent", a.who.Agent,
		"dashboard", a.who.Dashboard, "panel", a.who.Panel, "endpoint", a.endpoint, "query", a.query,
	}
	if !a.asked.start.IsZero() {
		all = append(all, "start", a.asked.start.UTC().Format(time.RFC3339), "end", a.asked.end.UTC().Format(time.RFC3339), "step", a.asked.step)
	}
	return append(all,
		"duration", a.books.cfg.Now().Sub(a.started).Round(time.Millisecond), "series", a.series.Load(), "samples", a.looked(),
		"samples_held", a.inPeak.Load(), "memory_bytes", a.memory.Load(), "local_bytes", a.localBytes.Load(), "peer_bytes", a.peerBytes.Load(),
		"bucket_bytes", a.bucketBytes.Load(), "bucket_requests", a.bucketRequests.Load(),
		"restarts", a.restarts.Load(), "memory_wait", time.Duration(a.waited.Load()).Round(time.Millisecond),
	)
}

// looked is how many samples were read: as the engine has counted when it is done, else as they passed by.
func (a *Account) looked() int64 { return max(a.engineRead.Load(), a.samples.Load()) }

// finished books the end of a query, and logs it if it was slow.
func (b *Books) finished(a *Account, out *answer, gone bool) {
	result := a.result(out, gone)
	b.metrics.finished.WithLabelValues(result).Inc()
	b.bookRead(a)
	if b.cfg.SlowThreshold <= 0 || b.cfg.Now().Sub(a.started) < b.cfg.SlowThreshold {
		return
	}
	b.metrics.slow.Inc()
	attributes := append(a.attributes(), "result", result, "status", out.status, "answer_bytes", out.bytes)
	if reason := a.reason(); reason != nil {
		attributes = append(attributes, "reason", reason)
	}
	b.logger.Warn("slow query", attributes...)
}

// bookRead counts what was read.
func (b *Books) bookRead(a *Account) {
	for source, n := range map[string]int64{"local": a.localBytes.Load(), "peer": a.peerBytes.Load(), "bucket": a.bucketBytes.Load()} {
		b.metrics.read.WithLabelValues(source).Add(float64(n))
	}
}

// running is an account as StatusHandler shows it.
type running struct {
	ID       uint64 `json:"id"`
	Endpoint string `json:"endpoint"`
	who
	Query   string  `json:"query,omitempty"`
	Start   string  `json:"start,omitempty"`
	End     string  `json:"end,omitempty"`
	Step    float64 `json:"stepSeconds,omitempty"`
	Seconds float64 `json:"seconds"`
	Ended   string  `json:"ended,omitempty"` // Why it is about to end.
	Series  int64   `json:"series"`
	Samples int64   `json:"samples"`
	Memory  int64   `json:"memoryBytes"`
	Local   int64   `json:"localBytes"`
	Peers   int64   `json:"peerBytes"`
	Bucket  int64   `json:"bucketBytes"`
	Asked   int64   `json:"bucketRequests"`
	// Restarts is how often it gave up what it held because memory was short; Waits is since when it has waited for memory, if it does.
	Restarts int64   `json:"restarts,omitempty"`
	Waits    float64 `json:"waitsForMemorySeconds,omitempty"`
}

// StatusHandler answers with the queries that run now, the heaviest first: of the tenant of the request, or of all.
func (b *Books) StatusHandler(all bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := b.cfg.Tenant(r)
		if err != nil && !all {
			respond(w, http.StatusBadRequest, "bad_data", err)
			return
		}
		list := []running{}
		for _, a := range b.accounts() {
			if all || a.who.Tenant == tenant {
				list = append(list, a.running())
			}
		}
		slices.SortFunc(list, func(x, y running) int { return cmp.Or(cmp.Compare(y.Memory, x.Memory), cmp.Compare(x.ID, y.ID)) })
		inside, waiting := b.door.counts()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{ // The client may be gone.
			"running": inside, "waiting": waiting, "waitingForMemory": b.line.waiting(), "maxConcurrency": b.cfg.MaxConcurrency, "memoryBytes": b.held.Load(), "queries": list,
		}})
	})
}

func (a *Account) running() running {
	r := running{
		ID: a.id, Endpoint: a.endpoint, who: a.who, Query: a.query, Step: a.asked.step.Seconds(), Seconds: a.books.cfg.Now().Sub(a.started).Seconds(),
		Series: a.series.Load(), Samples: a.looked(), Memory: a.memory.Load(), Local: a.localBytes.Load(), Peers: a.peerBytes.Load(),
		Bucket: a.bucketBytes.Load(), Asked: a.bucketRequests.Load(), Restarts: a.restarts.Load(),
	}
	if since := a.waitsSince.Load(); since > 0 {
		r.Waits = a.books.cfg.Now().Sub(time.Unix(0, since)).Seconds()
	}
	if !a.asked.start.IsZero() {
		r.Start, r.End = a.asked.start.UTC().Format(time.RFC3339), a.asked.end.UTC().Format(time.RFC3339)
	}
	if reason := a.reason(); reason != nil {
		r.Ended = reason.Error()
	}
	return r
}
