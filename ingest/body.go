// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/golang/snappy"
)

// readStep is how much a body buffer grows at a time: it follows what has arrived,
// never what a Content-Length promises.
const readStep = 64 << 10

// readBody reads the request body into buf, which it returns grown. Bytes take up room
// as they arrive: a slow sender must not hold more than it has sent.
func readBody(r *http.Request, buf []byte, limit int64, room *admission) ([]byte, error) {
	if r.ContentLength > limit {
		return buf, bodyTooLarge(limit)
	}
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(readStep, len(buf)))
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return buf, bodyTooLarge(limit)
		}
		if refused := room.take(n); refused != nil {
			return buf, refused
		}
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return buf, readFailure(err)
		}
	}
}

func bodyTooLarge(limit int64) error {
	return &limitError{limit: LimitBodyBytes, status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("body exceeds %d bytes", limit)}
}

// readFailure is rarely seen by anyone: the sender is gone or too slow.
func readFailure(err error) error {
	var netErr net.Error
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &netErr) && netErr.Timeout()) {
		return refuseRequest(http.StatusRequestTimeout, "body did not arrive in time")
	}
	return refuseRequest(http.StatusBadRequest, "cannot read body")
}

// snappyExpansionMax is more than the block format can expand anything to: its most
// effective element turns 3 bytes into 64. A larger claim is refused before memory
// is taken for it.
const snappyExpansionMax = 22

// decodedSize returns the size that a snappy block says it decodes to, when that is
// possible and allowed.
func decodedSize(body []byte, limit int64) (int, error) {
	if len(body) == 0 {
		return 0, refuseRequest(http.StatusBadRequest, "empty body")
	}
	n, err := snappy.DecodedLen(body)
	if err != nil {
		return 0, notSnappy()
	}
	if int64(n) > limit {
		return 0, overLimit(LimitDecodedBytes, "decoded size", int64(n), limit)
	}
	if n > snappyExpansionMax*len(body) {
		return 0, notSnappy()
	}
	return n, nil
}

// decompress decodes a snappy block of n decoded bytes into buf, which it returns
// grown.
func decompress(body, buf []byte, n int) ([]byte, error) {
	buf = slices.Grow(buf[:0], n)
	out, err := snappy.Decode(buf[:n], body)
	if err != nil {
		return buf, notSnappy()
	}
	return out, nil
}

func notSnappy() error {
	return refuseRequest(http.StatusBadRequest, "cannot decompress: not snappy block format")
}
