// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
)

// underPrefix serves everything below a path, which has no slash at its end. Who comes without it is sent there from the
// root only. /-/ and /metrics are served at the root as well: load balancers, orchestrators and scrapers ask the node
// itself, not its users' URL.
func underPrefix(prefix string, next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(prefix+"/", http.StripPrefix(prefix, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&prefixedWriter{ResponseWriter: w, prefix: prefix}, r)
	})))
	mux.Handle("/-/", next)
	mux.Handle("/metrics", next)
	mux.Handle("/{$}", http.RedirectHandler(prefix+"/", http.StatusFound))
	return mux
}

// prefixedWriter puts the prefix before the place that a redirect of a handler names, which does not know of it.
type prefixedWriter struct {
	http.ResponseWriter
	prefix string
}

// WriteHeader implements http.ResponseWriter.
func (w *prefixedWriter) WriteHeader(status int) {
	if to := w.Header().Get("Location"); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.HasPrefix(to, w.prefix+"/") {
		w.Header().Set("Location", w.prefix+to)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Flush implements http.Flusher, which a streamed read needs.
func (w *prefixedWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *prefixedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
