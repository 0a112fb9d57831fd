// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// partSize is the smallest that S3 takes, so that the large object of the suite is written in three parts.
const partSize = 5 << 20

// TestS3Conformance runs the suite that every driver passes in memory and on a file system against a real S3 server.
func TestS3Conformance(t *testing.T) {
	conforms(t, env.StartS3(t))
}

// TestMinIOConformance is the same on MinIO. It is by hand, as building MinIO takes minutes.
func TestMinIOConformance(t *testing.T) {
	if os.Getenv(minioVariable) == "" {
		t.Skip("building MinIO takes minutes: it is run by `make e2e-minio`")
	}
	conforms(t, env.StartMinIO(t))
}

// minioVariable says that MinIO may be built.
const minioVariable = "PENSTOCK_E2E_MINIO"

func conforms(t *testing.T, server *harness.S3) {
	t.Helper()
	var opened atomic.Int64
	buckettest.Run(t, func(t *testing.T) bucket.Bucket {
		// A prefix of its own makes each an empty bucket.
		prefix := fmt.Sprintf("conformance-%d", opened.Add(1))
		cfg, err := bucket.ParseConfig(fmt.Appendf(nil, "%s  part_size: %d\n", server.ObjstoreConfig(prefix), partSize))
		if err != nil {
			t.Fatal(err)
		}
		bkt, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = bkt.Close() })
		return bkt
	}, buckettest.WithLargeObject(2*partSize+12345))
}
