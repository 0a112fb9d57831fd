// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/http"
)

// exemplars is Prometheus' query_exemplars with the warnings of an answer in which something is lacking: the interface
// between it and the storage has no place for them. Any other answer is passed on as it is.
func (h *handlers) exemplars(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, n := h.withNotes(r.Context())
		plain := r.Clone(ctx)
		plain.Header.Del("Accept-Encoding") // It is packed when it is whole.
		held := &heldAnswer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(held, plain)
		body := held.body.Bytes()
		if warnings, _ := n.get(); len(warnings) > 0 && held.status == http.StatusOK {
			body = withWarnings(body, warnings)
		}
		w.WriteHeader(held.status)
		if _, err := w.Write(body); err != nil {
			h.logger.Debug("answer not delivered", "path", r.URL.Path, "err", err)
		}
	})
}

// withWarnings puts warnings into a successful answer. One that cannot be read stays as it is.
func withWarnings(body []byte, warnings []string) []byte {
	var fields struct {
		Status   string          `json:"status"`
		Data     json.RawMessage `json:"data,omitempty"`
		Warnings []string        `json:"warnings"`
	}
	if err := json.Unmarshal(body, &fields); err != nil {
		return body
	}
	fields.Warnings = warnings
	out, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return out
}
