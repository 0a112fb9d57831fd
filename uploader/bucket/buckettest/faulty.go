// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// ErrInjected is the error of an operation that Faulty let fail.
var ErrInjected = errors.New("injected failure")

// Fault is how one operation goes wrong.
type Fault int

// The faults that stores are known for.
const (
	FailBefore Fault = iota // The operation does not happen.
	FailAfter               // It happens, and its answer is lost.
	Truncate                // A put stores the first half and reports success; a get breaks off half-way. Others fail.
)

// Faulty passes operations on to a bucket and lets some of them fail. Use it to fail the n-th operation of a procedure
// for every n, and to see that the procedure, done again, ends as if nothing had happened. Safe for concurrent use.
type Faulty struct {
	bucket.Bucket

	mu    sync.Mutex
	calls int
	fails func(call int, op, key string) (Fault, bool)
	log   []string
}

// NewFaulty returns a Faulty that lets nothing fail yet.
func NewFaulty(b bucket.Bucket) *Faulty { return &Faulty{Bucket: b} }

// FailNth lets the n-th operation from now fail, counting from 1; 0 lets none fail.
func (f *Faulty) FailNth(n int, fault Fault) {
	f.FailWhen(func(call int, _, _ string) (Fault, bool) { return fault, call == n })
}

// FailWhen lets every operation fail for which fn is true. It is called with the number of the operation from now.
func (f *Faulty) FailWhen(fn func(call int, op, key string) (Fault, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.log, f.fails = 0, nil, fn
}

// Calls returns the number of operations since the last FailNth or FailWhen.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Log returns these operations, as "put key".
func (f *Faulty) Log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.log...)
}

func (f *Faulty) next(op, key string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.log = append(f.log, op+" "+key)
	if f.fails == nil {
		return 0, false
	}
	return f.fails(f.calls, op, key)
}

// run does one operation that has no content.
func (f *Faulty) run(op, key string, do func() error) error {
	fault, fails := f.next(op, key)
	if !fails {
		return do()
	}
	if fault == FailAfter {
		_ = do()
	}
	return ErrInjected
}

// List implements bucket.Bucket.
func (f *Faulty) List(ctx context.Context, prefix string, recursive bool, fn func(bucket.Object) error) error {
	return f.run("list", prefix, func() error { return f.Bucket.List(ctx, prefix, recursive, fn) })
}

// Get implements bucket.Bucket.
func (f *Faulty) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	return f.get("get", key, func() (io.ReadCloser, error) { return f.Bucket.Get(ctx, key) })
}

// GetRange implements bucket.Bucket.
func (f *Faulty) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	return f.get("get_range", key, func() (io.ReadCloser, error) { return f.Bucket.GetRange(ctx, key, off, length) })
}

func (f *Faulty) get(op, key string, do func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	fault, fails := f.next(op, key)
	if fails && fault != Truncate {
		return nil, ErrInjected
	}
	r, err := do()
	if err != nil || !fails {
		return r, err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(content[:len(content)/2]), brokenOff{})), nil
}

type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Attributes implements bucket.Bucket.
func (f *Faulty) Attributes(ctx context.Context, key string) (attrs bucket.Attributes, err error) {
	err = f.run("attributes", key, func() error {
		attrs, err = f.Bucket.Attributes(ctx, key)
		return err
	})
	return attrs, err
}

// Exists implements bucket.Bucket.
func (f *Faulty) Exists(ctx context.Context, key string) (ok bool, err error) {
	err = f.run("exists", key, func() error {
		ok, err = f.Bucket.Exists(ctx, key)
		return err
	})
	return ok, err
}

// Put implements bucket.Bucket.
func (f *Faulty) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	_, err := f.put("put", key, r, size, func(r io.Reader, size int64) (string, error) {
		return "", f.Bucket.Put(ctx, key, r, size)
	})
	return err
}

// PutIfAbsent implements bucket.Bucket.
func (f *Faulty) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (string, error) {
	return f.put("put_if_absent", key, r, size, func(r io.Reader, size int64) (string, error) {
		return f.Bucket.PutIfAbsent(ctx, key, r, size)
	})
}

// PutIfMatch implements bucket.Bucket.
func (f *Faulty) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (string, error) {
	return f.put("put_if_match", key, r, size, func(r io.Reader, size int64) (string, error) {
		return f.Bucket.PutIfMatch(ctx, key, etag, r, size)
	})
}

func (f *Faulty) put(op, key string, r io.Reader, size int64, do func(io.Reader, int64) (string, error)) (string, error) {
	fault, fails := f.next(op, key)
	switch {
	case !fails:
		return do(r, size)
	case fault == Truncate:
		return do(io.LimitReader(r, size/2), size/2)
	case fault == FailAfter:
		_, _ = do(r, size)
	}
	return "", ErrInjected
}

// Delete implements bucket.Bucket.
func (f *Faulty) Delete(ctx context.Context, key string) error {
	return f.run("delete", key, func() error { return f.Bucket.Delete(ctx, key) })
}
