// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"io"
	"strings"
)

// WithPrefix returns a view of b in which every key lies below prefix, so that several users can share one bucket.
// An empty prefix returns b itself.
func WithPrefix(b Bucket, prefix string) Bucket {
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return b
	}
	return prefixed{b: b, prefix: prefix + "/"}
}

type prefixed struct {
	b      Bucket
	prefix string
}

func (p prefixed) Name() string { return p.b.Name() + "/" + strings.TrimSuffix(p.prefix, "/") }

func (p prefixed) Close() error { return p.b.Close() }

func (p prefixed) List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error {
	return p.b.List(ctx, p.prefix+prefix, recursive, func(o Object) error {
		o.Key = strings.TrimPrefix(o.Key, p.prefix)
		return fn(o)
	})
}

func (p prefixed) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := ValidateKey(key); err != nil {
		return nil, err
	}
	return p.b.Get(ctx, p.prefix+key)
}

func (p prefixed) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	if err := ValidateKey(key); err != nil {
		return nil, err
	}
	return p.b.GetRange(ctx, p.prefix+key, off, length)
}

func (p prefixed) Attributes(ctx context.Context, key string) (Attributes, error) {
	if err := ValidateKey(key); err != nil {
		return Attributes{}, err
	}
	return p.b.Attributes(ctx, p.prefix+key)
}

func (p prefixed) Exists(ctx context.Context, key string) (bool, error) {
	if err := ValidateKey(key); err != nil {
		return false, err
	}
	return p.b.Exists(ctx, p.prefix+key)
}

func (p prefixed) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := ValidateKey(key); err != nil {
		return err
	}
	return p.b.Put(ctx, p.prefix+key, r, size)
}

func (p prefixed) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (string, error) {
	if err := ValidateKey(key); err != nil {
		return "", err
	}
	return p.b.PutIfAbsent(ctx, p.prefix+key, r, size)
}

func (p prefixed) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (string, error) {
	if err := ValidateKey(key); err != nil {
		return "", err
	}
	return p.b.PutIfMatch(ctx, p.prefix+key, etag, r, size)
}

func (p prefixed) Delete(ctx context.Context, key string) error {
	if err := ValidateKey(key); err != nil {
		return err
	}
	return p.b.Delete(ctx, p.prefix+key)
}
