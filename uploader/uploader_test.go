// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package uploader_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// addBlock writes a finished block into the directory of a tenant.
func addBlock(t *testing.T, dir string) ulid.ULID {
	t.Helper()
	samples := []chunks.Sample{buckettest.Float(1, 2), buckettest.Float(3, 4)}
	_, id := buckettest.WriteBlock(t, dir, 0, storage.NewListSeries(labels.FromStrings("__name__", "m"), samples))
	return id
}

// fixture is a member with a clock, whose uploader can be replaced as by a restart.
type fixture struct {
	tenants []uploader.Tenant
	store   *bucket.Memory
	faulty  *buckettest.Faulty
	now     time.Time
	reg     *prometheus.Registry
}

func newFixture(t *testing.T, tenants ...string) *fixture {
	f := &fixture{store: bucket.NewMemory(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f.faulty = buckettest.NewFaulty(f.store)
	for _, name := range tenants {
		dir := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.Mkdir(dir, 0o700))
		f.tenants = append(f.tenants, uploader.Tenant{Name: name, Dir: dir})
	}
	return f
}

func (f *fixture) start(attempts int) *uploader.Uploader {
	f.reg = prometheus.NewRegistry()
	return uploader.New(uploader.Config{
		Tenants: func() []uploader.Tenant { return f.tenants },
		Bucket:  bucket.NewBlocks(f.faulty, func() time.Time { return f.now }),
		// One at a time, so that a test can tell which call is the n-th.
		Member: "member-1", Concurrency: 1, Attempts: attempts, RetryBackoff: time.Nanosecond, HeldAfter: time.Hour,
		Now: func() time.Time { return f.now },
	}, nil, f.reg)
}

func (f *fixture) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			m := family.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func contentOf(t *testing.T, b bucket.Bucket) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, b.List(t.Context(), "", true, func(o bucket.Object) error {
		r, err := b.Get(t.Context(), o.Key)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		found[o.Key] = string(content)
		return r.Close()
	}))
	return found
}

func TestSync(t *testing.T) {
	f := newFixture(t, "a", "b")
	first, second := addBlock(t, f.tenants[0].Dir), addBlock(t, f.tenants[0].Dir)
	other := addBlock(t, f.tenants[1].Dir)
	unfinished := addBlock(t, f.tenants[1].Dir)
	require.NoError(t, os.Remove(filepath.Join(f.tenants[1].Dir, unfinished.String(), "meta.json")))
	require.NoError(t, os.Mkdir(filepath.Join(f.tenants[1].Dir, "wal"), 0o700))

	u := f.start(1)
	require.False(t, u.Held("a", first), "nothing is known before the first pass")
	got, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ulid.ULID{first, second, other}, got)
	require.Equal(t, 3, u.Uploaded())
	require.EqualValues(t, 0, f.metric(t, "penstock_uploader_blocks_pending"))
	require.EqualValues(t, 3, f.metric(t, "penstock_uploader_uploads_total"))
	require.EqualValues(t, f.now.Unix(), f.metric(t, "penstock_uploader_last_success_timestamp_seconds"))

	listing, err := bucket.NewBlocks(f.store, nil).Metas(t.Context())
	require.NoError(t, err)
	require.Len(t, listing.Blocks, 3)
	require.Empty(t, listing.Partial, "a block without meta.json is not touched")
	for _, b := range listing.Blocks {
		want := map[string]string{"tenant_id": "a", "receive_replica": "member-1"}
		if b.Meta.ULID == other {
			want["tenant_id"] = "b"
		}
		require.Equal(t, want, b.Meta.Thanos.Labels)
		require.Equal(t, "receive", b.Meta.Thanos.Source)
	}

	f.faulty.FailNth(0, 0)
	for _, again := range []*uploader.Uploader{u, f.start(1)} {
		got, err = again.Sync(t.Context())
		require.NoError(t, err)
		require.Empty(t, got)
	}
	require.Zero(t, f.faulty.Calls(), "what is recorded needs no request: %v", f.faulty.Log())
}

func TestHeld(t *testing.T) {
	f := newFixture(t, "a")
	id := addBlock(t, f.tenants[0].Dir)
	u := f.start(1)
	_, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.False(t, u.Held("a", id), "other members may not have listed it yet")
	f.now = f.now.Add(time.Hour - time.Millisecond)
	require.False(t, u.Held("a", id))
	f.now = f.now.Add(time.Millisecond)
	require.True(t, u.Held("a", id))
	require.False(t, u.Held("a", ulid.Make()))
	require.False(t, u.Held("b", id))

	restarted := f.start(1)
	require.False(t, restarted.Held("a", id))
	_, err = restarted.Sync(t.Context())
	require.NoError(t, err)
	require.True(t, restarted.Held("a", id))
}

// TestFailNth fails every operation of a pass once, in every way, restarts, and finds the bucket as if nothing had been.
func TestFailNth(t *testing.T) {
	f := newFixture(t, "a")
	for range 2 {
		addBlock(t, f.tenants[0].Dir)
	}
	shipper := filepath.Join(f.tenants[0].Dir, "penstock.shipper.json")
	_, err := f.start(1).Sync(t.Context())
	require.NoError(t, err)
	total, want := f.faulty.Calls(), contentOf(t, f.store)
	wantFile, err := os.ReadFile(shipper)
	require.NoError(t, err)
	require.Greater(t, total, 16)

	for _, fault := range []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate} {
		for n := 1; n <= total; n++ {
			require.NoError(t, os.Remove(shipper))
			f.store = bucket.NewMemory()
			f.faulty = buckettest.NewFaulty(f.store)
			f.faulty.FailNth(n, fault)
			got, err := f.start(1).Sync(t.Context())
			require.Error(t, err, "fault %d at operation %d", fault, n)
			require.Len(t, got, 1, "one bad block does not keep the other back")
			require.EqualValues(t, 1, f.metric(t, "penstock_uploader_blocks_pending"))
			require.EqualValues(t, 1, f.metric(t, "penstock_uploader_upload_failures_total"))
			require.Zero(t, f.metric(t, "penstock_uploader_last_success_timestamp_seconds"))

			got, err = f.start(1).Sync(t.Context())
			require.NoError(t, err)
			require.Len(t, got, 1)
			require.Equal(t, want, contentOf(t, f.store), "fault %d at operation %d", fault, n)
			file, err := os.ReadFile(shipper)
			require.NoError(t, err)
			require.Equal(t, string(wantFile), string(file))
		}
	}
}

func TestRetriesInOnePass(t *testing.T) {
	f := newFixture(t, "a")
	addBlock(t, f.tenants[0].Dir)
	f.faulty.FailWhen(func(call int, _, _ string) (buckettest.Fault, bool) { return buckettest.FailBefore, call <= 2 })
	got, err := f.start(3).Sync(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.EqualValues(t, 2, f.metric(t, "penstock_uploader_upload_failures_total"))
}

// TestStoreDown shows that a pass gives up soon, and that the backlog drains once the store is back.
func TestStoreDown(t *testing.T) {
	f := newFixture(t, "a")
	for range 6 {
		addBlock(t, f.tenants[0].Dir)
	}
	f.faulty.FailWhen(func(int, string, string) (buckettest.Fault, bool) { return buckettest.FailBefore, true })
	u := f.start(1)
	_, err := u.Sync(t.Context())
	require.ErrorIs(t, err, buckettest.ErrInjected)
	require.Equal(t, 3, f.faulty.Calls(), "after three blocks in a row it is not the blocks")
	require.EqualValues(t, 6, f.metric(t, "penstock_uploader_blocks_pending"))
	f.faulty.FailNth(0, 0)
	got, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.Len(t, got, 6)
}

// TestShipperFileLost shows that the record only saves work.
func TestShipperFileLost(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"removed": os.Remove,
		"torn":    func(name string) error { return os.WriteFile(name, []byte(`{"version":1,`), 0o600) },
		"newer":   func(name string) error { return os.WriteFile(name, []byte(`{"version":99}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "a")
			id := addBlock(t, f.tenants[0].Dir)
			_, err := f.start(1).Sync(t.Context())
			require.NoError(t, err)
			want := contentOf(t, f.store)
			require.NoError(t, spoil(filepath.Join(f.tenants[0].Dir, "penstock.shipper.json")))
			f.now = f.now.Add(time.Minute)
			got, err := f.start(1).Sync(t.Context())
			require.NoError(t, err)
			require.Equal(t, []ulid.ULID{id}, got)
			require.Equal(t, want, contentOf(t, f.store), "the visible block is not touched")
		})
	}
}

// TestAnotherBucket shows that what one bucket holds is neither taken to be in another one, nor deleted for it.
func TestAnotherBucket(t *testing.T) {
	f := newFixture(t, "a")
	id := addBlock(t, f.tenants[0].Dir)
	_, err := f.start(1).Sync(t.Context())
	require.NoError(t, err)
	f.now = f.now.Add(2 * time.Hour)

	next := bucket.NewBlocks(bucket.WithPrefix(f.store, "next"), func() time.Time { return f.now })
	u := uploader.New(uploader.Config{
		Tenants: func() []uploader.Tenant { return f.tenants }, Bucket: next, Member: "member-1", HeldAfter: time.Hour,
		Now: func() time.Time { return f.now },
	}, nil, nil)
	got, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ulid.ULID{id}, got)
	require.False(t, u.Held("a", id), "not yet in every member's list of blocks")
	f.now = f.now.Add(time.Hour)
	require.True(t, u.Held("a", id))
}

func TestShipperFileUnwritable(t *testing.T) {
	f := newFixture(t, "a")
	id := addBlock(t, f.tenants[0].Dir)
	blocker := filepath.Join(f.tenants[0].Dir, "penstock.shipper.json.tmp")
	require.NoError(t, os.Mkdir(blocker, 0o700))
	u := f.start(1)
	got, err := u.Sync(t.Context())
	require.ErrorContains(t, err, "write shipper file")
	require.Empty(t, got)
	f.now = f.now.Add(24 * time.Hour)
	require.False(t, u.Held("a", id))
	require.NoError(t, os.Remove(blocker))
	got, err = u.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ulid.ULID{id}, got)
}

func TestRunStopsWithItsContext(t *testing.T) {
	f := newFixture(t, "a")
	addBlock(t, f.tenants[0].Dir)
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	var once sync.Once
	f.faulty.FailWhen(func(int, string, string) (buckettest.Fault, bool) {
		once.Do(func() { close(entered) })
		return buckettest.FailBefore, true
	})
	done := make(chan error)
	u := f.start(1 << 30)
	go func() { done <- u.Run(ctx) }()
	<-entered
	cancel()
	err := <-done
	require.False(t, errors.Is(err, context.Canceled))
	require.NoError(t, err)
}

// countingBucket notes how many blocks are on their way at once. The first wait for each other.
type countingBucket struct {
	want int
	all  chan struct{} // Closed when as many as are wanted are under way.

	mu        sync.Mutex
	now, most int
}

func (c *countingBucket) Name() string { return "counting" }

func (c *countingBucket) PutBlock(ctx context.Context, _ string, _ map[string]string, _ string) error {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	if c.now == c.want && c.want == c.most {
		c.want = 0
		close(c.all)
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	select {
	case <-c.all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestConcurrency shows that so many blocks are on their way at once as are allowed, and not more.
func TestConcurrency(t *testing.T) {
	f := newFixture(t, "a", "b")
	for range 4 {
		addBlock(t, f.tenants[0].Dir)
		addBlock(t, f.tenants[1].Dir)
	}
	b := &countingBucket{want: 3, all: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := uploader.New(uploader.Config{
		Tenants: func() []uploader.Tenant { return f.tenants },
		Bucket:  b, Member: "a", Concurrency: 3,
	}, nil, nil).Sync(ctx)
	require.NoError(t, err)
	require.Len(t, got, 8)
	require.Equal(t, 3, b.most)
}

// TestCompactedBlockIsHeld: with the shipper file lost, a block that was compacted and deleted meanwhile is held all the same,
// and not uploaded.
func TestCompactedBlockIsHeld(t *testing.T) {
	f := newFixture(t, "a")
	gone, fresh := addBlock(t, f.tenants[0].Dir), addBlock(t, f.tenants[0].Dir)
	fails := true
	u := uploader.New(uploader.Config{
		Tenants: func() []uploader.Tenant { return f.tenants }, Member: "m", HeldAfter: time.Hour, Now: func() time.Time { return f.now },
		Bucket: bucket.NewBlocks(f.faulty, func() time.Time { return f.now }),
		Compacted: func(_ context.Context, id ulid.ULID) (bool, error) {
			if fails && id == fresh {
				return true, errors.New("the bucket cannot be listed")
			}
			return id == gone, nil
		},
	}, nil, nil)
	got, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.Contains(t, got, fresh, "who cannot know uploads")
	listing, err := bucket.NewBlocks(f.store, nil).Metas(t.Context())
	require.NoError(t, err)
	require.Len(t, listing.Blocks, 1)
	f.now = f.now.Add(time.Hour)
	require.True(t, u.Held("a", gone))
	require.True(t, u.Held("a", fresh))
}
