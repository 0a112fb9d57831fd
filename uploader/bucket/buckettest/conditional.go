// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

func (s suite) putIfAbsent(ctx context.Context, t *testing.T, b bucket.Bucket) {
	etag, err := b.PutIfAbsent(ctx, "dir/lease", strings.NewReader("one"), 3)
	require.NoError(t, err)
	attrs, err := b.Attributes(ctx, "dir/lease")
	require.NoError(t, err)
	require.Equal(t, attrs.ETag, etag)

	_, err = b.PutIfAbsent(ctx, "dir/lease", strings.NewReader("two"), 3)
	require.ErrorIs(t, err, bucket.ErrPrecondition)
	require.Equal(t, "one", get(ctx, t, b, "dir/lease"))

	require.NoError(t, b.Delete(ctx, "dir/lease"))
	_, err = b.PutIfAbsent(ctx, "dir/lease", strings.NewReader("three"), 5)
	require.NoError(t, err)
	require.Equal(t, "three", get(ctx, t, b, "dir/lease"))
}

func (s suite) putIfMatch(ctx context.Context, t *testing.T, b bucket.Bucket) {
	_, err := b.PutIfMatch(ctx, "lease", `"0123456789abcdef0123456789abcdef"`, strings.NewReader("x"), 1)
	require.ErrorIs(t, err, bucket.ErrPrecondition, "there is nothing to match")

	first, err := b.PutIfAbsent(ctx, "lease", strings.NewReader("one"), 3)
	require.NoError(t, err)
	second, err := b.PutIfMatch(ctx, "lease", first, strings.NewReader("two"), 3)
	require.NoError(t, err)
	require.NotEqual(t, first, second)

	_, err = b.PutIfMatch(ctx, "lease", first, strings.NewReader("bad"), 3)
	require.ErrorIs(t, err, bucket.ErrPrecondition, "stale ETag")
	require.Equal(t, "two", get(ctx, t, b, "lease"))

	put(ctx, t, b, "lease", "six")
	_, err = b.PutIfMatch(ctx, "lease", second, strings.NewReader("bad"), 3)
	require.ErrorIs(t, err, bucket.ErrPrecondition, "an unconditional write changes the ETag too")

	attrs, err := b.Attributes(ctx, "lease")
	require.NoError(t, err)
	require.NoError(t, b.Delete(ctx, "lease"))
	_, err = b.PutIfMatch(ctx, "lease", attrs.ETag, strings.NewReader("bad"), 3)
	require.ErrorIs(t, err, bucket.ErrPrecondition, "the object is gone")
}

func (s suite) concurrentPutIfAbsent(ctx context.Context, t *testing.T, b bucket.Bucket) {
	for round := range 3 {
		key := fmt.Sprintf("lease-%d", round)
		winner := race(t, func(me string) error {
			_, err := b.PutIfAbsent(ctx, key, strings.NewReader(me), int64(len(me)))
			return err
		})
		require.Equal(t, winner, get(ctx, t, b, key))
	}
}

func (s suite) concurrentPutIfMatch(ctx context.Context, t *testing.T, b bucket.Bucket) {
	etag, err := b.PutIfAbsent(ctx, "lease", strings.NewReader("start"), 5)
	require.NoError(t, err)
	for range 3 {
		winner := race(t, func(me string) error {
			_, err := b.PutIfMatch(ctx, "lease", etag, strings.NewReader(me), int64(len(me)))
			return err
		})
		require.Equal(t, winner, get(ctx, t, b, "lease"))
		// The next round needs another content than this one's, since an ETag may be a hash of it.
		put(ctx, t, b, "lease", "between "+winner+etag)
		attrs, err := b.Attributes(ctx, "lease")
		require.NoError(t, err)
		etag = attrs.ETag
	}
}

// race runs write for several writers at once and returns the one that succeeded. All others must be told that they lost.
func race(t *testing.T, write func(me string) error) string {
	t.Helper()
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		winners []string
		others  []error
	)
	start := make(chan struct{})
	for i := range writersAtOnce {
		me := fmt.Sprintf("writer %d", i)
		wg.Go(func() {
			<-start
			err := write(me)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, me)
			} else if !errors.Is(err, bucket.ErrPrecondition) {
				others = append(others, err)
			}
		})
	}
	close(start)
	wg.Wait()
	require.Empty(t, others)
	require.Len(t, winners, 1, "exactly one writer must succeed")
	return winners[0]
}
