// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package buckettest holds what every driver of a bucket must do, as one suite that is run on all of them.
package buckettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Option changes what Run does.
type Option func(*suite)

// WithLargeObject sets the size of the large object. For S3 it should be above twice the part size, so that it
// is written in parts; the default of 1 MiB is for drivers that have none.
func WithLargeObject(bytes int64) Option { return func(s *suite) { s.largeBytes = bytes } }

// WithManyObjects sets how many objects are listed at once. For S3 it should be above 1000, which is one page; the default
// of 50 is for drivers that have no pages.
func WithManyObjects(n int) Option { return func(s *suite) { s.many = n } }

// caseTimeout is a guard against a store that hangs, not a measure.
const caseTimeout = 2 * time.Minute

// writersAtOnce is how many writers meet in the tests of conditional writes.
const writersAtOnce = 8

type suite struct {
	largeBytes int64
	many       int
	open       func(*testing.T) bucket.Bucket
}

// Run checks one driver. open returns an empty bucket, or a view of one by bucket.WithPrefix; each test opens its own and
// removes its objects at the end.
func Run(t *testing.T, open func(*testing.T) bucket.Bucket, opts ...Option) {
	s := suite{largeBytes: 1 << 20, many: 50, open: open}
	for _, o := range opts {
		o(&s)
	}
	for _, c := range []struct {
		name string
		run  func(context.Context, *testing.T, bucket.Bucket)
	}{
		{"put and get", s.putAndGet},
		{"ranges", s.ranges},
		{"missing object", s.missing},
		{"listing", s.listing},
		{"listing of many", s.listingOfMany},
		{"odd keys", s.oddKeys},
		{"invalid keys", s.invalidKeys},
		{"size mismatch", s.sizeMismatch},
		{"large object", s.largeObject},
		{"put if absent", s.putIfAbsent},
		{"put if match", s.putIfMatch},
		{"concurrent put if absent", s.concurrentPutIfAbsent},
		{"concurrent put if match", s.concurrentPutIfMatch},
		{"delete", s.delete},
		{"cancelled context", s.cancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), caseTimeout)
			defer cancel()
			b := s.open(t)
			t.Cleanup(func() { empty(t, b) })
			c.run(ctx, t, b)
		})
	}
}

// empty removes all objects: a store that outlives the test must be ready for the next one.
func empty(t *testing.T, b bucket.Bucket) {
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	var keys []string
	require.NoError(t, b.List(ctx, "", true, func(o bucket.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	for _, k := range keys {
		require.NoError(t, b.Delete(ctx, k))
	}
	require.NoError(t, b.Close())
}

func put(ctx context.Context, t *testing.T, b bucket.Bucket, key, content string) {
	t.Helper()
	require.NoError(t, b.Put(ctx, key, strings.NewReader(content), int64(len(content))))
}

func get(ctx context.Context, t *testing.T, b bucket.Bucket, key string) string {
	t.Helper()
	r, err := b.Get(ctx, key)
	require.NoError(t, err)
	return readAll(t, r)
}

func readAll(t *testing.T, r io.ReadCloser) string {
	t.Helper()
	content, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return string(content)
}

func keysOf(ctx context.Context, t *testing.T, b bucket.Bucket, prefix string, recursive bool) []string {
	t.Helper()
	keys := []string{}
	require.NoError(t, b.List(ctx, prefix, recursive, func(o bucket.Object) error {
		require.Equal(t, strings.HasSuffix(o.Key, "/"), o.Prefix, "key %q", o.Key)
		keys = append(keys, o.Key)
		return nil
	}))
	return keys
}

// pattern returns bytes in which every eight tell their own place, so that parts in the wrong order show.
func pattern(size int64) []byte {
	content := make([]byte, 0, size+8)
	for i := int64(0); i < size; i += 8 {
		content = binary.BigEndian.AppendUint64(content, uint64(i))
	}
	return content[:size]
}

func (s suite) putAndGet(ctx context.Context, t *testing.T, b bucket.Bucket) {
	require.NotEmpty(t, b.Name())
	for _, content := range []string{"first", "second, longer than the first", "3rd", ""} {
		put(ctx, t, b, "dir/object", content)
		require.Equal(t, content, get(ctx, t, b, "dir/object"))
		attrs, err := b.Attributes(ctx, "dir/object")
		require.NoError(t, err)
		require.Equal(t, int64(len(content)), attrs.Size)
		require.NotEmpty(t, attrs.ETag)
		require.WithinDuration(t, time.Now(), attrs.ModTime, 10*time.Minute)
		exists, err := b.Exists(ctx, "dir/object")
		require.NoError(t, err)
		require.True(t, exists)
	}
}

func (s suite) missing(ctx context.Context, t *testing.T, b bucket.Bucket) {
	put(ctx, t, b, "dir/object", "x")
	for _, key := range []string{"no-such", "dir/no-such", "dir", "dir/object-2"} {
		_, err := b.Get(ctx, key)
		require.ErrorIs(t, err, bucket.ErrNotFound, "get %q", key)
		_, err = b.GetRange(ctx, key, 0, 1)
		require.ErrorIs(t, err, bucket.ErrNotFound, "get range of %q", key)
		_, err = b.Attributes(ctx, key)
		require.ErrorIs(t, err, bucket.ErrNotFound, "attributes of %q", key)
		exists, err := b.Exists(ctx, key)
		require.NoError(t, err)
		require.False(t, exists, key)
	}
	require.Empty(t, keysOf(ctx, t, b, "no-such/", true))
	require.Empty(t, keysOf(ctx, t, b, "no-such", false))
}

func (s suite) sizeMismatch(ctx context.Context, t *testing.T, b bucket.Bucket) {
	for _, size := range []int64{0, 3, 5, -1} {
		for name, r := range map[string]io.Reader{
			"seekable": strings.NewReader("four"),
			"stream":   io.MultiReader(strings.NewReader("four")),
		} {
			err := b.Put(ctx, "object", r, size)
			require.ErrorIs(t, err, bucket.ErrSizeMismatch, "%s announced as %d bytes", name, size)
			exists, err := b.Exists(ctx, "object")
			require.NoError(t, err)
			require.False(t, exists)
		}
	}
	require.Empty(t, keysOf(ctx, t, b, "", true), "a failed write must leave nothing")
}

func (s suite) largeObject(ctx context.Context, t *testing.T, b bucket.Bucket) {
	content := pattern(s.largeBytes)
	for name, r := range map[string]io.Reader{
		"seekable": bytes.NewReader(content),
		"stream":   io.MultiReader(bytes.NewReader(content)),
	} {
		require.NoError(t, b.Put(ctx, "large", r, s.largeBytes))
		got, err := b.Get(ctx, "large")
		require.NoError(t, err)
		sum := sha256.New()
		n, err := io.Copy(sum, got)
		require.NoError(t, err)
		require.NoError(t, got.Close())
		require.Equal(t, s.largeBytes, n, name)
		want := sha256.Sum256(content)
		require.Equal(t, want[:], sum.Sum(nil), name)

		off := s.largeBytes/2 - 5
		part, err := b.GetRange(ctx, "large", off, 10)
		require.NoError(t, err)
		require.Equal(t, string(content[off:off+10]), readAll(t, part), name)
	}
	short := io.MultiReader(bytes.NewReader(content[1:]))
	require.ErrorIs(t, b.Put(ctx, "other", short, s.largeBytes), bucket.ErrSizeMismatch)
	require.Equal(t, []string{"large"}, keysOf(ctx, t, b, "", true))

	_, err := b.PutIfAbsent(ctx, "large", bytes.NewReader(content), s.largeBytes)
	require.ErrorIs(t, err, bucket.ErrPrecondition)
	_, err = b.PutIfAbsent(ctx, "large-2", bytes.NewReader(content), s.largeBytes)
	require.NoError(t, err)
	require.True(t, slices.Equal(keysOf(ctx, t, b, "", true), []string{"large", "large-2"}))
}

func (s suite) delete(ctx context.Context, t *testing.T, b bucket.Bucket) {
	put(ctx, t, b, "dir/a", "a")
	put(ctx, t, b, "dir/sub/b", "b")
	for range 2 {
		require.NoError(t, b.Delete(ctx, "dir/sub/b"), "deleting twice is as good as once")
		require.NoError(t, b.Delete(ctx, "never/was/there"))
		require.NoError(t, b.Delete(ctx, "dir/a/below-an-object"))
	}
	require.Equal(t, []string{"dir/a"}, keysOf(ctx, t, b, "", true))
	require.Equal(t, []string{"dir/a"}, keysOf(ctx, t, b, "dir/", false), "an empty directory is not listed")
	put(ctx, t, b, "dir/sub/b", "again")
	require.Equal(t, "again", get(ctx, t, b, "dir/sub/b"))
}

func (s suite) cancelled(ctx context.Context, t *testing.T, b bucket.Bucket) {
	put(ctx, t, b, "object", "x")
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	_, err := b.Get(ctx, "object")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, b.Put(ctx, "other", strings.NewReader("x"), 1), context.Canceled)
	require.ErrorIs(t, b.Delete(ctx, "object"), context.Canceled)
	require.ErrorIs(t, b.List(ctx, "", true, func(bucket.Object) error { return nil }), context.Canceled)
}
