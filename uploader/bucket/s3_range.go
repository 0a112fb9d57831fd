// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// errWrongRange says that a store answered a range request with another range.
var errWrongRange = errors.New("the store answered with another range than was asked for")

// contentOf returns the range of an object that was asked for, by the rules of GetRange, out of an answer. Some stores, and
// proxies before them, answer a range request with the whole object; then what was not asked for is skipped.
func contentOf(out *s3.GetObjectOutput, off, length int64) (io.ReadCloser, error) {
	if out.ContentRange != nil {
		first, err := firstByte(*out.ContentRange)
		if err == nil && off >= 0 && first != off {
			err = fmt.Errorf("%w: it begins at byte %d and not at %d", errWrongRange, first, off)
		}
		if err != nil {
			return nil, errors.Join(err, out.Body.Close())
		}
		return out.Body, nil
	}
	// Without the header it is the whole object.
	size := int64(math.MaxInt64) // Unknown.
	if out.ContentLength != nil && *out.ContentLength >= 0 {
		size = *out.ContentLength
	} else if off < 0 {
		return nil, errors.Join(fmt.Errorf("%w: the whole object, of unknown size", errWrongRange), out.Body.Close())
	}
	from, to, err := rangeOf(off, length, size)
	if err == nil {
		_, err = io.CopyN(io.Discard, out.Body, from)
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it ends before offset %d", ErrInvalidRange, off)
	}
	if err != nil {
		return nil, errors.Join(err, out.Body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(out.Body, to-from), out.Body}, nil
}

// firstByte reads a header such as "bytes 5-9/100".
func firstByte(header string) (int64, error) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	first, _, found := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || !found || err != nil {
		return 0, fmt.Errorf("%w: Content-Range is %q", errWrongRange, header)
	}
	return n, nil
}
