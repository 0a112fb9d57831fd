// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"io"
	"sync"
)

// turnBytes are read of a peer's answer before leave to decode them is asked for: a few milliseconds of work.
const turnBytes = 512 << 10

var turnBuffers = sync.Pool{New: func() any { return new([turnBytes]byte) }}

// turnReader reads an answer in large pieces. While whoever reads from it works on one it has leave to compute, and
// while the network is waited for it has not.
type turnReader struct {
	ctx   context.Context //nolint:containedctx // Of the request whose answer this is.
	in    io.Reader
	turn  func(context.Context) (func(), error)
	buf   *[turnBytes]byte
	rest  []byte // Of buf.
	end   error  // What follows rest.
	leave func()
}

func newTurnReader(ctx context.Context, in io.Reader, turn func(context.Context) (func(), error)) *turnReader {
	if turn == nil {
		turn = func(context.Context) (func(), error) { return func() {}, nil }
	}
	return &turnReader{ctx: ctx, in: in, turn: turn, buf: turnBuffers.Get().(*[turnBytes]byte), leave: func() {}}
}

// Read implements io.Reader.
func (r *turnReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.end != nil {
			return 0, r.end
		}
		r.leave()
		r.leave = func() {}
		n, err := io.ReadFull(r.in, r.buf[:])
		if errors.Is(err, io.ErrUnexpectedEOF) { // Of the buffer; the end of the answer is for the caller to judge.
			err = io.EOF
		}
		r.rest, r.end = r.buf[:n], err
		leave, err := r.turn(r.ctx)
		if err != nil {
			r.rest, r.end = nil, err
			return 0, err
		}
		r.leave = leave
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, r.end
	}
	return n, nil
}

// close gives everything back. Nothing may be read after it.
func (r *turnReader) close() {
	r.leave()
	turnBuffers.Put(r.buf)
}
