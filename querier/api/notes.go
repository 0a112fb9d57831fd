// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/tsdb"
)

// warningsMax is how many warnings, and how many infos, an answer carries: as many as Prometheus'.
const warningsMax = 10

// notes collects what the storage says of an answer that cannot say it in Prometheus' way. It is safe for concurrent use.
type notes struct {
	mu          sync.Mutex
	warnings    []string // Each once.
	unavailable bool     // There is no answer now and may be one soon.
}

// withNotes returns the context of a request with new notes.
func (h *handlers) withNotes(ctx context.Context) (context.Context, *notes) {
	n := &notes{}
	if h.cfg.Notes == nil {
		return ctx, n
	}
	return h.cfg.Notes(ctx, n.add), n
}

func (n *notes) add(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if errors.Is(err, tsdb.ErrNotReady) {
		n.unavailable = true
		return
	}
	if text := err.Error(); len(n.warnings) < warningsMax && !slices.Contains(n.warnings, text) {
		n.warnings = append(n.warnings, text)
	}
}

func (n *notes) get() (warnings []string, unavailable bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.warnings), n.unavailable
}

// joinWarnings makes one line for a header.
func joinWarnings(warnings []string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(strings.Join(warnings, "; "))
}

// notedWriter passes an answer on. Warnings that there are before its first byte go into a header; an internal error
// becomes a 503 when a retry may help; an error after the first byte breaks the connection, which is the only way to let
// the client see that it has a part.
type notedWriter struct {
	http.ResponseWriter
	notes   *notes
	started bool
}

// WriteHeader implements http.ResponseWriter.
func (w *notedWriter) WriteHeader(status int) {
	if w.started {
		panic(http.ErrAbortHandler)
	}
	w.started = true
	warnings, unavailable := w.notes.get()
	if len(warnings) > 0 {
		w.Header().Set(headerWarnings, joinWarnings(warnings))
	}
	if unavailable && status == http.StatusInternalServerError {
		status = http.StatusServiceUnavailable
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *notedWriter) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which a streamed read needs.
func (w *notedWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// read is Prometheus' remote read, which logs warnings and answers every error with 500.
func (h *handlers) read(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, n := h.withNotes(r.Context())
		next.ServeHTTP(&notedWriter{ResponseWriter: w, notes: n}, r.WithContext(ctx))
	})
}
