// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/uploader"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// faultRate is the share of requests that something happens to: each of the first attempts at a block meets a few.
	faultRate = 0.15
	// passesMax bounds how often a procedure is begun again. It is many times what is needed.
	passesMax = 100
)

// TestUploadOverBadS3: whatever the store does, each block ends in the bucket once, whole and as it is on disk, and nobody ever
// sees one that is not whole.
func TestUploadOverBadS3(t *testing.T) {
	server := env.StartS3(t)
	var met sync.Map // harness.S3Fault
	t.Run("seeds", func(t *testing.T) {
		for seed, faults := range [][]harness.S3Fault{
			harness.AllS3Faults(), harness.AllS3Faults(), harness.AllS3Faults(),
			{harness.S3PartialPut},
			{harness.S3LostAnswer, harness.S3StaleList},
			{harness.S3TruncatedBody, harness.S3InternalError},
		} {
			t.Run(fmt.Sprint(seed, faults), func(t *testing.T) {
				t.Parallel() // Most of it is waiting before a request is sent again.
				faulty := env.StartFaultyS3(t, server, uint64(seed))
				faulty.Misbehave(faultRate, faults...)
				uploadOver(t, server, faulty)
				for _, f := range faults {
					if faulty.Count(f) > 0 {
						met.Store(f, true)
					}
				}
			})
		}
	})
	for _, f := range []harness.S3Fault{harness.S3PartialPut, harness.S3LostAnswer, harness.S3TruncatedBody, harness.S3InternalError, harness.S3SlowDown} {
		if _, ok := met.Load(f); !ok {
			t.Errorf("no request met %q, so that nothing is shown of it", f)
		}
	}
}

// uploadOver has an uploader send a few blocks through the faulty store until it is done.
func uploadOver(t *testing.T, server *harness.S3, faulty *harness.FaultyS3) {
	t.Helper()
	dir := filepath.Join(harness.Dir(t), "tenant")
	blocks := makeBlocks(t, dir, 3)
	prefix := ulid.Make().String()
	u := uploader.New(uploader.Config{
		Tenants:      func() []uploader.Tenant { return []uploader.Tenant{{Name: "team", Dir: dir}} },
		Bucket:       bucket.NewBlocks(faulty.Open(t, prefix), time.Now),
		Member:       "a",
		RetryBackoff: time.Millisecond,
	}, slog.New(slog.DiscardHandler), nil)
	truth := server.Open(t, prefix)
	passes := untilDone(t, func() error {
		_, err := u.Sync(t.Context())
		wholeOrInvisible(t, truth, dir)
		return err
	})
	t.Logf("%d passes, %d requests: %s", passes, faulty.Requests(), faulty.Faults())
	if visible := wholeOrInvisible(t, truth, dir); visible != len(blocks) {
		t.Errorf("%d of %d blocks are in the bucket", visible, len(blocks))
	}
}

// untilDone repeats do until it succeeds.
func untilDone(t *testing.T, do func() error) (passes int) {
	t.Helper()
	for passes = 1; ; passes++ {
		err := do()
		if err == nil {
			return passes
		}
		if passes == passesMax {
			t.Fatalf("still failing after %d passes: %v", passes, err)
		}
	}
}

// wholeOrInvisible checks that each block with a meta.json that can be read is in the bucket as in dir, and returns how many.
func wholeOrInvisible(t *testing.T, b bucket.Bucket, dir string) (visible int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bucketTimeout)
	defer cancel()
	objects := map[string][]byte{}
	err := b.List(ctx, "", true, func(o bucket.Object) error {
		r, err := b.Get(ctx, o.Key)
		if err != nil {
			return err
		}
		defer r.Close()
		objects[o.Key], err = io.ReadAll(r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range objects {
		id, name, _ := strings.Cut(key, "/")
		if name != "meta.json" {
			continue
		}
		if _, err := bucket.ParseMeta(ulid.MustParse(id), objects[key]); err != nil {
			continue // Torn: nobody takes it for a block.
		}
		visible++
		err := filepath.WalkDir(filepath.Join(dir, id), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			if base := filepath.Base(rel); base == "meta.json" || base == "tombstones" {
				return nil
			}
			want, err := os.ReadFile(path)
			if got := objects[filepath.ToSlash(rel)]; err == nil && !bytes.Equal(got, want) {
				t.Errorf("block %s is visible, and %s has %d bytes that are not the %d on disk", id, rel, len(got), len(want))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return visible
}

// makeBlocks writes n blocks of two hours with a few series.
func makeBlocks(t *testing.T, dir string, n int) (ids []string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const span = 2 * 60 * 60 * 1000
	end := time.Now().UnixMilli()/span*span - 24*span
	for i := range n {
		w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, span)
		if err != nil {
			t.Fatal(err)
		}
		app := w.Appender(t.Context())
		for s := range 200 {
			ls := labels.FromStrings("__name__", "m", "series", fmt.Sprint(s))
			for at := int64(0); at < span; at += 60_000 {
				if _, err := app.Append(0, ls, end+int64(i)*span+at, float64(s*1000)+float64(at)/1000); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		id, err := w.Flush(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	return ids
}
