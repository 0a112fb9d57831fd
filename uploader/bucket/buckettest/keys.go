// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

func (s suite) ranges(ctx context.Context, t *testing.T, b bucket.Bucket) {
	put(ctx, t, b, "object", "0123456789")
	put(ctx, t, b, "empty", "")
	for _, c := range []struct {
		off, length int64
		want        string
	}{
		{0, 10, "0123456789"},
		{0, 1, "0"},
		{3, 4, "3456"},
		{9, 1, "9"},
		{8, 100, "89"}, // Beyond the end: what there is.
		{4, -1, "456789"},
		{-3, -1, "789"},
		{-100, -1, "0123456789"},
	} {
		r, err := b.GetRange(ctx, "object", c.off, c.length)
		require.NoError(t, err, "%d, %d", c.off, c.length)
		require.Equal(t, c.want, readAll(t, r), "%d, %d", c.off, c.length)
	}
	for _, c := range []struct{ off, length int64 }{{10, 1}, {100, -1}, {0, 0}, {-3, 2}} {
		_, err := b.GetRange(ctx, "object", c.off, c.length)
		require.ErrorIs(t, err, bucket.ErrInvalidRange, "%d, %d", c.off, c.length)
	}
	_, err := b.GetRange(ctx, "empty", 0, 1)
	require.ErrorIs(t, err, bucket.ErrInvalidRange)
}

func (s suite) listing(ctx context.Context, t *testing.T, b bucket.Bucket) {
	all := []string{"a-b", "a/1", "a/2/x", "a/2/y", "a/3", "a0", "b"}
	for _, key := range all {
		put(ctx, t, b, key, key)
	}
	for _, c := range []struct {
		prefix    string
		recursive bool
		want      []string
	}{
		{"", true, all},
		{"", false, []string{"a-b", "a/", "a0", "b"}},
		{"a/", true, []string{"a/1", "a/2/x", "a/2/y", "a/3"}},
		{"a/", false, []string{"a/1", "a/2/", "a/3"}},
		{"a/2/", false, []string{"a/2/x", "a/2/y"}},
		{"a", false, []string{"a-b", "a/", "a0"}},
		{"a", true, []string{"a-b", "a/1", "a/2/x", "a/2/y", "a/3", "a0"}},
		{"a/2", true, []string{"a/2/x", "a/2/y"}},
		{"b", true, []string{"b"}},
		{"b/", true, []string{}},
		{"c", false, []string{}},
	} {
		got := keysOf(ctx, t, b, c.prefix, c.recursive)
		require.Equal(t, c.want, got, "prefix %q, recursive %t", c.prefix, c.recursive)
	}
	stop := errors.New("enough")
	calls := 0
	err := b.List(ctx, "", true, func(o bucket.Object) error {
		attrs, err := b.Attributes(ctx, o.Key)
		require.NoError(t, err)
		require.Equal(t, attrs.Size, o.Size)
		require.Equal(t, attrs.ETag, o.ETag)
		calls++
		return stop
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, calls)
}

func (s suite) listingOfMany(ctx context.Context, t *testing.T, b bucket.Bucket) {
	var want []string
	for i := range s.many {
		want = append(want, fmt.Sprintf("many/%04d", i))
		put(ctx, t, b, want[i], "")
	}
	require.Equal(t, want, keysOf(ctx, t, b, "many/", true))
	require.Equal(t, want, keysOf(ctx, t, b, "many/", false))
}

func (s suite) oddKeys(ctx context.Context, t *testing.T, b bucket.Bucket) {
	keys := []string{
		"with space/and more", "plus+and&and=and?and#and%20", "per%cent/100%", "größe/Straße", "日本語/ブロック", "emoji-🚰",
		"quote'\"`", "back\\slash", "semi;colon,comma:colon", "(paren)[bracket]{brace}<angle>", "tilde~bang!at@dollar$caret^star*pipe|",
		".hidden/..double/...triple", "UPPER/lower", "-dash", strings.Repeat("long/", 40) + strings.Repeat("n", 200),
	}
	for _, key := range keys {
		put(ctx, t, b, key, "content of "+key)
	}
	for _, key := range keys {
		require.Equal(t, "content of "+key, get(ctx, t, b, key))
	}
	slices.Sort(keys)
	require.Equal(t, keys, keysOf(ctx, t, b, "", true))
	for _, key := range keys {
		require.NoError(t, b.Delete(ctx, key))
	}
	require.Empty(t, keysOf(ctx, t, b, "", true))
}

func (s suite) invalidKeys(ctx context.Context, t *testing.T, b bucket.Bucket) {
	for _, key := range []string{
		"", "/", "/absolute", "trailing/", "double//slash", ".", "..", "../outside", "a/../../outside", "a/./b", "a/..",
		"nul\x00", "new\nline", "del\x7f", "bad\xffutf8", strings.Repeat("x/", 512) + "x",
	} {
		require.ErrorIs(t, b.Put(ctx, key, strings.NewReader("x"), 1), bucket.ErrInvalidKey, "put %q", key)
		_, err := b.PutIfAbsent(ctx, key, strings.NewReader("x"), 1)
		require.ErrorIs(t, err, bucket.ErrInvalidKey, "put if absent %q", key)
		require.ErrorIs(t, b.Delete(ctx, key), bucket.ErrInvalidKey, "delete %q", key)
	}
	require.Empty(t, keysOf(ctx, t, b, "", true))
}
