// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"net/http"
)

// heldAnswer keeps an answer back. What is answered is bounded before: exemplars by the memory that members give them, samples by the limits
// of queries.
type heldAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (a *heldAnswer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *heldAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
