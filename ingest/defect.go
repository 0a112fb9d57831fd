// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// defectError is a panic while a body was read. The same body meets it every time, so
// that it is answered with 400: a connection that just closes would make the sender
// repeat the request for ever, and nothing else behind it.
type defectError struct {
	value any
	stack []byte
}

func (e *defectError) Error() string { return "this version cannot read the request" }

// parseOrRefuse is parse that turns a panic into an error.
func (b *Batch) parseOrRefuse(proto protocol, bounds timeBounds) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &defectError{value: v, stack: debug.Stack()}
		}
	}()
	return b.parse(proto, bounds)
}

// noteDefect logs err if it is a defect, and tells whether it is.
func noteDefect(logger *slog.Logger, err error) bool {
	var e *defectError
	if !errors.As(err, &e) {
		return false
	}
	logger.Error("refused a request that this version cannot read", "panic", fmt.Sprint(e.value), "stack", string(e.stack))
	return true
}
