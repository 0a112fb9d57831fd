// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The S3 server's only user and bucket.
const (
	s3AccessKey = "penstock-e2e"
	s3SecretKey = "penstock-e2e-secret"
	s3Bucket    = "penstock"
)

// S3 is a real S3 server that keeps objects as files.
type S3 struct {
	Process *Process
	addr    string
}

// StartS3 starts versitygw with one empty bucket on loopback.
func (e *Env) StartS3(t testing.TB) *S3 {
	t.Helper()
	return e.StartS3At(t, Loopback(e.FreePort(t)))
}

// StartS3At is StartS3 on an address.
func (e *Env) StartS3At(t testing.TB, addr string) *S3 {
	t.Helper()
	dir := Dir(t)
	root, sidecar := filepath.Join(dir, "objects"), filepath.Join(dir, "attributes")
	for _, d := range []string{filepath.Join(root, s3Bucket), sidecar} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatalf("make the directories of the S3 server: %v", err)
		}
	}
	s := &S3{addr: addr, Process: Start(t, Command{
		Name: "versitygw", Path: e.bin.versitygw, Dir: dir,
		// Attributes of objects go to files: not every file system of a test machine has extended attributes.
		Args: []string{"--port", addr, "--health", "/health", "posix", "--sidecar", sidecar, root},
		Env:  []string{"ROOT_ACCESS_KEY=" + s3AccessKey, "ROOT_SECRET_KEY=" + s3SecretKey},
	})}
	waitHTTP(t, s.Process, "http://"+addr+"/health")
	return s
}

// StartMinIO starts MinIO with one empty bucket on loopback. It builds it first, if it has not been, which takes minutes.
func (e *Env) StartMinIO(t testing.TB) *S3 {
	t.Helper()
	bin, err := install(t.Context(), filepath.Join(cacheDir(), "minio-"+minioVersion), "github.com/minio/minio", minioVersion)
	if err != nil {
		t.Fatalf("build MinIO: %v", err)
	}
	addr, dir := Loopback(e.FreePort(t)), Dir(t)
	// On a single disk a directory is a bucket.
	if err := os.MkdirAll(filepath.Join(dir, "objects", s3Bucket), 0o755); err != nil {
		t.Fatalf("make the directories of MinIO: %v", err)
	}
	s := &S3{addr: addr, Process: Start(t, Command{
		Name: "minio", Path: bin, Dir: dir,
		Args: []string{"server", "--address", addr, "--console-address", Loopback(e.FreePort(t)), filepath.Join(dir, "objects")},
		Env:  []string{"MINIO_ROOT_USER=" + s3AccessKey, "MINIO_ROOT_PASSWORD=" + s3SecretKey},
	})}
	waitHTTP(t, s.Process, "http://"+addr+"/minio/health/ready")
	return s
}

// ObjstoreConfig is the configuration of the bucket in the form that Thanos gave it. Objects go below prefix.
func (s *S3) ObjstoreConfig(prefix string) string {
	return fmt.Sprintf(`type: S3
prefix: %q
config:
  bucket: %s
  endpoint: %s
  region: us-east-1
  access_key: %s
  secret_key: %s
  insecure: true
`, prefix, s3Bucket, s.addr, s3AccessKey, s3SecretKey)
}
