// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is a Bucket for tests. It forgets everything with the process.
type Memory struct {
	mu       sync.Mutex
	objects  map[string]memoryObject
	versions int64
}

type memoryObject struct {
	content []byte // Never changed; a new version is a new slice.
	attrs   Attributes
}

// NewMemory returns an empty bucket.
func NewMemory() *Memory { return &Memory{objects: map[string]memoryObject{}} }

// Name implements Bucket.
func (*Memory) Name() string { return "memory" }

// Close implements Bucket.
func (*Memory) Close() error { return nil }

// List implements Bucket. It lists what was there when it began.
func (m *Memory) List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error {
	var found []Object
	m.mu.Lock()
	for key, o := range m.objects {
		if strings.HasPrefix(key, prefix) {
			found = append(found, Object{Key: key, Size: o.attrs.Size, ModTime: o.attrs.ModTime, ETag: o.attrs.ETag})
		}
	}
	m.mu.Unlock()
	slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })

	folded := ""
	for _, o := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i := strings.IndexByte(o.Key[len(prefix):], '/'); i >= 0 && !recursive {
			o = Object{Key: o.Key[:len(prefix)+i+1], Prefix: true}
			if o.Key == folded {
				continue
			}
			folded = o.Key
		}
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}

// Get implements Bucket.
func (m *Memory) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	o, err := m.object(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(o.content)), nil
}

// GetRange implements Bucket.
func (m *Memory) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	o, err := m.object(ctx, "get range of", key)
	if err != nil {
		return nil, err
	}
	from, to, err := rangeOf(off, length, o.attrs.Size)
	if err != nil {
		return nil, fmt.Errorf("get range of %q: %w", key, err)
	}
	return io.NopCloser(bytes.NewReader(o.content[from:to])), nil
}

// Attributes implements Bucket.
func (m *Memory) Attributes(ctx context.Context, key string) (Attributes, error) {
	o, err := m.object(ctx, "stat", key)
	return o.attrs, err
}

// Exists implements Bucket.
func (m *Memory) Exists(ctx context.Context, key string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.objects[key]
	return ok, nil
}

// Put implements Bucket.
func (m *Memory) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	_, err := m.put(ctx, key, r, size, func(memoryObject, bool) bool { return true })
	return err
}

// PutIfAbsent implements Bucket.
func (m *Memory) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (string, error) {
	return m.put(ctx, key, r, size, func(_ memoryObject, exists bool) bool { return !exists })
}

// PutIfMatch implements Bucket.
func (m *Memory) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (string, error) {
	return m.put(ctx, key, r, size, func(o memoryObject, exists bool) bool { return exists && o.attrs.ETag == etag })
}

// Delete implements Bucket.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ValidateKey(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

func (m *Memory) object(ctx context.Context, op, key string) (memoryObject, error) {
	if err := ctx.Err(); err != nil {
		return memoryObject{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return memoryObject{}, fmt.Errorf("%s %q: %w", op, key, ErrNotFound)
	}
	return o, nil
}

func (m *Memory) put(
	ctx context.Context, key string, r io.Reader, size int64, allowed func(memoryObject, bool) bool,
) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := ValidateKey(key); err != nil {
		return "", fmt.Errorf("put: %w", err)
	}
	content, err := readExactly(r, size)
	if err != nil {
		return "", fmt.Errorf("put %q: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, exists := m.objects[key]
	if !allowed(old, exists) {
		return "", fmt.Errorf("put %q: %w", key, ErrPrecondition)
	}
	m.versions++
	etag := strconv.FormatInt(m.versions, 10)
	m.objects[key] = memoryObject{content: content, attrs: Attributes{Size: size, ModTime: time.Now(), ETag: etag}}
	return etag, nil
}
