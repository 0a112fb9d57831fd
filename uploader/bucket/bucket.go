// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package bucket keeps TSDB blocks in an object store, in Thanos' layout. It is the only package that knows an object key.
//
// It has two layers. A Bucket is a driver: named objects with a handful of operations, the same on S3, on a file
// system and in memory, held to one meaning by the suite in buckettest. Blocks is the layout on top of any driver: which
// objects make a block, in which order they are written, and which one of them makes the block visible.
//
//	uploader, compaction, store gateway
//	        │  PutBlock, Metas, Download, Mark, Delete
//	     Blocks          <ULID>/chunks/000001 … index, then meta.json: the commit point
//	        │  List, Get, GetRange, Attributes, Put, PutIfAbsent, PutIfMatch, Delete
//	  Instrument ── WithPrefix ── S3 | Filesystem | Memory
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of failure that callers act on; test for them with errors.Is. Every other error is a fault of the store or
// of the way to it, and the operation may be tried again.
var (
	// ErrNotFound says that there is no object under this key.
	ErrNotFound = errors.New("object not found")
	// ErrPrecondition says that a conditional write found another state than it asked for; nothing was written.
	ErrPrecondition = errors.New("precondition failed")
	// ErrAccessDenied says that the credentials are not good for this operation; trying again does not help.
	ErrAccessDenied = errors.New("access denied")
	// ErrInvalidRange says that a range lies wholly outside of the object.
	ErrInvalidRange = errors.New("range outside of the object")
	// ErrInvalidKey says that no driver takes this key; see ValidateKey.
	ErrInvalidKey = errors.New("invalid object key")
	// ErrSizeMismatch says that a reader gave more or fewer bytes than was announced; nothing was written.
	ErrSizeMismatch = errors.New("content is not as long as announced")
)

// Object is one entry of a listing.
type Object struct {
	Key     string // Full key; of a common prefix the prefix including the final slash.
	Size    int64  // Bytes.
	ModTime time.Time
	ETag    string // Opaque; changes whenever the content may have changed.
	Prefix  bool   // A common prefix (a "directory"), not an object: only Key is set.
}

// Attributes are what a store tells of an object without reading it.
type Attributes struct {
	Size    int64 // Bytes.
	ModTime time.Time
	ETag    string // Opaque; the same value that PutIfMatch takes.
}

// Bucket is a flat name space of immutable byte strings. All methods are safe for concurrent use, and an object is seen
// whole or not at all: a failed write leaves what was there before.
//
// Reads see every write that was acknowledged before they began. An error that is none of the package's sentinels leaves
// open whether a write happened.
type Bucket interface {
	// Name is for logs and errors: what an operator would call this bucket. It holds no secrets.
	Name() string

	// List calls fn for every object whose key begins with prefix, in the order of their keys. Unless recursive, keys
	// that go on beyond a slash after the prefix are folded into one entry with Prefix set. An error of fn ends the
	// listing and is returned.
	List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error

	// Get returns the whole content. The caller closes it. ErrNotFound.
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// GetRange returns length bytes from off, or fewer where the object ends before; a length below zero reads to the
	// end. A negative off counts from the end (off -8, length -1: the last eight bytes, or the whole object if it is
	// shorter) and then length must be negative. ErrNotFound, ErrInvalidRange.
	GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error)

	// Attributes returns size, time and ETag. ErrNotFound.
	Attributes(ctx context.Context, key string) (Attributes, error)

	// Exists says whether there is an object under exactly this key.
	Exists(ctx context.Context, key string) (bool, error)

	// Put writes size bytes from r, replacing what was there. Readers that are also io.ReaderAt are not buffered, and
	// are read again when a part has to be sent again. ErrSizeMismatch.
	Put(ctx context.Context, key string, r io.Reader, size int64) error

	// PutIfAbsent is Put, but only while there is no object: of any number of concurrent callers exactly one succeeds.
	// It returns the new ETag. ErrPrecondition.
	//
	// A store may commit and lose its answer, and the driver then tries again and finds its own object. Callers
	// to whom this matters write something that tells them apart and read it back after ErrPrecondition.
	PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (etag string, err error)

	// PutIfMatch is Put, but only while the object's ETag is etag. It returns the new ETag. ErrPrecondition, also when
	// the object is gone. The remark at PutIfAbsent holds here too.
	PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (newETag string, err error)

	// Delete removes an object. Deleting what is not there is not an error. There is no conditional delete: not every
	// S3 server honours it.
	Delete(ctx context.Context, key string) error

	// Close frees connections. No other method may be called after it.
	Close() error
}

// keyBytesMax is S3's own bound on the length of a key.
const keyBytesMax = 1024

// ValidateKey says whether all drivers take key, with an error that is ErrInvalidKey. Keys are UTF-8 of at most 1024
// bytes without control characters; their slash-separated elements are not empty, "." or "..". That is narrower than
// S3's own rule, so that what is written to one store can be written to every other, and never outside of its root.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidKey)
	case len(key) > keyBytesMax:
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrInvalidKey, len(key), keyBytesMax)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalidKey, key)
	}
	for _, r := range key {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%w: %q has a control character", ErrInvalidKey, key)
		}
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("%w: %q has the element %q", ErrInvalidKey, key, element)
		}
	}
	if first, _, _ := strings.Cut(key, "/"); first == fsTempDir || first == fsLockFile {
		return fmt.Errorf("%w: %q is reserved", ErrInvalidKey, first)
	}
	return nil
}

// rangeOf turns the arguments of GetRange into a half-open range of an object of the given size.
func rangeOf(off, length, size int64) (from, to int64, err error) {
	if length == 0 || (off < 0 && length > 0) {
		return 0, 0, fmt.Errorf("%w: offset %d and length %d", ErrInvalidRange, off, length)
	}
	if off < 0 {
		off = max(0, size+off)
	}
	if off >= size {
		return 0, 0, fmt.Errorf("%w: offset %d of %d bytes", ErrInvalidRange, off, size)
	}
	if length < 0 || length > size-off {
		length = size - off
	}
	return off, off + length, nil
}

// readExactly reads size bytes and makes sure that there are no more.
func readExactly(r io.Reader, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("%w: the size %d is negative", ErrSizeMismatch, size)
	}
	buf := make([]byte, size)
	if n, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: %d of %d bytes", ErrSizeMismatch, n, size)
		}
		return nil, err
	}
	return buf, expectEOF(r, size)
}

// expectEOF fails when r has anything left.
func expectEOF(r io.Reader, size int64) error {
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return fmt.Errorf("%w: more than %d bytes", ErrSizeMismatch, size)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
