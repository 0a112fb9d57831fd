// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

func TestMemory(t *testing.T) {
	buckettest.Run(t, func(*testing.T) bucket.Bucket { return bucket.NewMemory() })
}

func TestFilesystem(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		b, err := bucket.NewFilesystem(filepath.Join(t.TempDir(), "new", "dir"))
		require.NoError(t, err)
		return b
	})
}

// TestWrappers runs the suite through everything that Open puts around a driver.
func TestWrappers(t *testing.T) {
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		cfg, err := bucket.ParseConfig([]byte("type: filesystem\nprefix: /some/prefix/\nconfig: {directory: " + t.TempDir() + "}"))
		require.NoError(t, err)
		b, err := bucket.Open(cfg, nil, prometheus.NewRegistry())
		require.NoError(t, err)
		return b
	})
}

// TestObjstore runs the suite on whatever store a file describes, such as a real S3 server.
func TestObjstore(t *testing.T) {
	file := os.Getenv("PENSTOCK_TEST_OBJSTORE")
	if file == "" {
		t.Skip("PENSTOCK_TEST_OBJSTORE does not name an objstore.config file of a bucket to test on")
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	cfg, err := bucket.ParseConfig(content)
	require.NoError(t, err)
	large := int64(1 << 20)
	if cfg.S3 != nil {
		large = int64(2*cfg.S3.PartSize) + 12345
	}
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		b, err := bucket.Open(cfg, nil, nil)
		require.NoError(t, err)
		return bucket.WithPrefix(b, "test-"+strings.ToLower(rand.Text()))
	}, buckettest.WithLargeObject(large), buckettest.WithManyObjects(1010))

	t.Run("blocks", func(t *testing.T) {
		b, err := bucket.Open(cfg, nil, nil)
		require.NoError(t, err)
		blocks := bucket.NewBlocks(bucket.WithPrefix(b, "test-"+strings.ToLower(rand.Text())), nil)
		dir, id := newBlock(t, 3)
		for range 2 {
			require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
		}
		listing, err := blocks.Metas(t.Context())
		require.NoError(t, err)
		require.Len(t, listing.Blocks, 1)
		n, err := blocks.Download(t.Context(), id, filepath.Join(t.TempDir(), "copy"))
		require.NoError(t, err)
		require.Equal(t, listing.Blocks[0].Bytes, n)
		require.NoError(t, blocks.Delete(t.Context(), id))
		listing, err = blocks.Metas(t.Context())
		require.NoError(t, err)
		require.Empty(t, listing.Blocks)
		require.NoError(t, b.Close())
	})
}
