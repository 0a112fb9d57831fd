// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"io"
)

// turnReader fills what it is given to read into. While whoever reads from it works on that it has leave to compute, and
// while the network is waited for it has not.
type turnReader struct {
	ctx   context.Context //nolint:containedctx // Of the request whose answer this is.
	in    io.Reader
	turn  func(context.Context) (func(), error)
	end   error // What comes after what was read.
	leave func()
}

func newTurnReader(ctx context.Context, in io.Reader, turn func(context.Context) (func(), error)) *turnReader {
	if turn == nil {
		turn = func(context.Context) (func(), error) { return func() {}, nil }
	}
	return &turnReader{ctx: ctx, in: in, turn: turn, leave: func() {}}
}

// Read implements io.Reader. It waits until p is full, or the answer at its end.
func (r *turnReader) Read(p []byte) (int, error) {
	if r.end != nil {
		return 0, r.end
	}
	r.close()
	n, err := io.ReadFull(r.in, p)
	if errors.Is(err, io.ErrUnexpectedEOF) { // Of p; the end of the answer is for the caller to judge.
		err = io.EOF
	}
	r.end = err
	leave, err := r.turn(r.ctx)
	if err != nil {
		r.end = err
		return 0, err
	}
	r.leave = leave
	if n == 0 && len(p) > 0 {
		return 0, r.end
	}
	return n, nil
}

// close gives leave to compute back.
func (r *turnReader) close() {
	r.leave()
	r.leave = func() {}
}
