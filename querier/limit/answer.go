// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"bufio"
	"io"
	"net/http"
)

// answerBuffer is how much of an answer is sent at a time. Before each time the turn is given back, and taken again after it: somebody
// who reads slowly must not keep a core from others. Those may wait, and compute for a few milliseconds each, in which some ten times
// as much could have been compressed.
const answerBuffer = 64 << 10

// answer remembers how a query was answered, and gives the answer of one that was ended the status of the reason where the
// handler could not know it. It is for one goroutine.
type answer struct {
	http.ResponseWriter
	a      *Account
	turn   *turn
	buf    *bufio.Writer // Nil before the first byte.
	status int
	bytes  int64
}

func newAnswer(w http.ResponseWriter, a *Account, t *turn) *answer {
	return &answer{ResponseWriter: w, a: a, turn: t}
}

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if s, ok := StatusOf(w.a.reason()); ok && status >= http.StatusBadRequest {
		status = s
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *answer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.buf == nil {
		w.buf = bufio.NewWriterSize(unhurried{w.ResponseWriter, w.turn}, answerBuffer)
	}
	n, err := w.buf.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (w *answer) Flush() {
	if w.buf != nil && w.buf.Flush() != nil { // The client has gone, which whoever writes on is told.
		return
	}
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		defer w.turn.pause()()
		f.Flush()
	}
}

// finish sends the rest.
func (w *answer) finish() {
	w.turn.stop()
	if w.buf != nil {
		_ = w.buf.Flush() // The client may be gone.
	}
}

// Unwrap is for http.ResponseController, with which deadlines are set.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// unhurried is a client that may take its time.
type unhurried struct {
	client io.Writer
	turn   *turn
}

// Write implements io.Writer.
func (u unhurried) Write(p []byte) (int, error) {
	defer u.turn.pause()()
	return u.client.Write(p)
}
