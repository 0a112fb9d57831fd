// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v2"
)

// fullS3 has every key that Thanos documents for S3.
const fullS3 = `
type: S3
config:
  bucket: "metrics"
  endpoint: "s3.eu-central-1.amazonaws.com"
  region: ""
  disable_dualstack: true
  aws_sdk_auth: false
  access_key: "AKIA"
  insecure: false
  signature_version2: true
  secret_key: 0123
  session_token: "hunter2-token"
  put_user_metadata: {"X-Amz-Storage-Class": STANDARD_IA, team: metrics}
  http_config:
    idle_conn_timeout: 1m30s
    response_header_timeout: 2m
    insecure_skip_verify: false
    tls_handshake_timeout: 10s
    expect_continue_timeout: 1s
    max_idle_conns: 100
    max_idle_conns_per_host: 100
    max_conns_per_host: 0
    tls_config: {ca_file: "", cert_file: "", key_file: "", server_name: "", insecure_skip_verify: false}
    disable_compression: false
    force_attempt_http2: false
  trace:
    enable: false
  list_objects_version: ""
  bucket_lookup_type: auto
  send_content_md5: true
  disable_multipart: false
  part_size: 67108864
  sse_config:
    type: "SSE-KMS"
    kms_key_id: "key"
    kms_encryption_context: {a: b}
    encryption_key: ""
  sts_endpoint: ""
prefix: "/a/b/"
`

func TestParseConfigS3(t *testing.T) {
	cfg, err := ParseConfig([]byte(fullS3))
	require.NoError(t, err)
	require.Equal(t, TypeS3, cfg.Type)
	require.Equal(t, "a/b", cfg.Prefix)
	require.Equal(t, "metrics", cfg.S3.Bucket)
	require.Equal(t, "eu-central-1", cfg.S3.Region, "from the endpoint")
	require.Equal(t, "0123", cfg.S3.SecretKey.Reveal(), "not read as a number")
	require.Equal(t, 90*time.Second, time.Duration(cfg.S3.HTTPConfig.IdleConnTimeout))
	require.True(t, cfg.S3.SendContentMD5)
	require.Len(t, cfg.Warnings, 1)
	require.Contains(t, cfg.Warnings[0], "signature_version2")

	b, err := NewS3(*cfg.S3)
	require.NoError(t, err)
	require.EqualValues(t, "STANDARD_IA", b.write.storageClass)
	require.Equal(t, map[string]string{"team": "metrics"}, b.write.metadata)
	require.Equal(t, "s3://s3.eu-central-1.amazonaws.com/metrics", b.Name())
	require.Equal(t, "STANDARD_IA", cfg.S3.PutUserMetadata["X-Amz-Storage-Class"], "the configuration is not changed")

	minimal, err := ParseConfig([]byte("type: s3\nconfig: {bucket: b, endpoint: 'http://127.0.0.1:9000'}"))
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:9000", minimal.S3.Endpoint)
	require.True(t, minimal.S3.Insecure)
	require.Equal(t, "us-east-1", minimal.S3.Region)
	require.EqualValues(t, 64<<20, minimal.S3.PartSize)
}

func TestParseConfigOtherTypes(t *testing.T) {
	cfg, err := ParseConfig([]byte("type: FILESYSTEM\nconfig:\n  directory: /data\n"))
	require.NoError(t, err)
	require.Equal(t, "/data", cfg.Filesystem.Directory)

	cfg, err = ParseConfig([]byte(`
type: ALIYUNOSS
config:
  endpoint: "oss-cn-hangzhou-internal.aliyuncs.com"
  bucket: "b"
  access_key_id: "id"
  access_key_secret: "hunter2"`))
	require.NoError(t, err)
	require.Equal(t, "s3.oss-cn-hangzhou-internal.aliyuncs.com", cfg.S3.Endpoint)
	require.Equal(t, "cn-hangzhou", cfg.S3.Region)
	require.Equal(t, lookupVirtual, cfg.S3.BucketLookupType)
	require.Equal(t, "hunter2", cfg.S3.SecretKey.Reveal())
}

func TestParseConfigErrors(t *testing.T) {
	f := func(content string, want ...string) {
		t.Helper()
		_, err := ParseConfig([]byte(content))
		require.Error(t, err)
		for _, w := range append(want, "objstore config: ") {
			require.ErrorContains(t, err, w)
		}
		require.NotContains(t, err.Error(), "\n", "one line")
		require.NotContains(t, err.Error(), "hunter2")
	}
	s3 := func(lines ...string) string {
		return "type: S3\nconfig:\n  bucket: b\n  endpoint: e\n  " + strings.Join(lines, "\n  ")
	}
	f("", `key "type" is missing`, "S3, FILESYSTEM, ALIYUNOSS")
	f("config: {}", `key "type" is missing`)
	f("type: GCS\nconfig: {bucket: b}", `type "GCS" is not supported`, "S3, FILESYSTEM, ALIYUNOSS")
	f("type: S3\nconfg: {}", `unknown key "confg" at the top level`, "known keys there: config, prefix, type")
	f("type: S3\nconfig: {}", `key "bucket" in section "config" is missing`)
	f("type: S3", `key "bucket" in section "config" is missing`)
	f("type: S3\nconfig: {bucket: b}", `key "endpoint" in section "config" is missing`, "s3.eu-central-1.amazonaws.com")
	f("type: S3\nconfig: 7", "line 2", "cannot unmarshal")
	f(s3("buckets: b"), `unknown key "buckets" in section "config"`, "access_key, ", "bucket, ", "part_size, ")
	f(s3("http_config:", "  tls_config:", "    cafile: x"), `unknown key "cafile" in section "config.http_config.tls_config"`, "ca_file, cert_file")
	f(s3("insecure: perhaps"), "line 5", "perhaps")
	f(s3("bucket: b"), "line 5: field bucket already set")
	f(s3("secret_key: hunter2"), `key "access_key" in section "config" is missing`)
	f(s3("access_key: a"), `key "secret_key" in section "config" is missing`)
	f(s3("access_key: a", "secret_key: hunter2", "aws_sdk_auth: true"), "exclude each other")
	f(s3("secret_key: {hunter2: 1}"), "cannot unmarshal")
	f(s3("bucket_lookup_type: dns"), `"dns" is unknown; use auto, path or virtual-hosted`)
	f(s3("part_size: 1000"), "part_size", "at least 5242880 bytes")
	f(s3("list_objects_version: v1"), "use v2")
	f(s3("sts_endpoint: https://sts"), "AWS_ENDPOINT_URL_STS")
	f(s3("sse_config: {type: SSE-C}"), "SSE-C is not supported")
	f(s3("sse_config: {type: SSE-KMS}"), `key "kms_key_id" in section "config.sse_config" is missing`)
	f(s3("sse_config: {type: AES}"), `"AES" is unknown`)
	f("type: S3\nconfig: {bucket: b, endpoint: 'https://me:hunter2@host/path'}", "want host[:port]")
	f("type: S3\nprefix: a/../b\nconfig: {bucket: b, endpoint: e}", `key "prefix"`, "invalid object key")
	f("type: FILESYSTEM\nconfig: {}", `key "directory" in section "config" is missing`)
	f("type: FILESYSTEM\nconfig: {dir: x}", `unknown key "dir"`, "known keys there: directory")
	f("type: ALIYUNOSS\nconfig: {bucket: b, endpoint: e}", `key "access_key_id" in section "config" is missing`)
	f("type: [", "did not find expected")
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("no certificate"), 0o600))
	_, err := Open(Config{Type: TypeFilesystem, Filesystem: &FilesystemConfig{Directory: filepath.Join(file, "below")}}, nil, nil)
	require.ErrorContains(t, err, file)

	cfg := DefaultS3Config()
	cfg.Bucket, cfg.Endpoint = "b", "e"
	cfg.HTTPConfig.TLSConfig.CAFile = file
	_, err = Open(Config{Type: TypeS3, S3: &cfg}, nil, nil)
	require.ErrorContains(t, err, "holds no PEM certificate")
	cfg.HTTPConfig.TLSConfig = TLSConfig{CertFile: file}
	_, err = Open(Config{Type: TypeS3, S3: &cfg}, nil, nil)
	require.ErrorContains(t, err, "come in pairs")
	_, err = Open(Config{}, nil, nil)
	require.Error(t, err)
}

func TestSecretsAreNotShown(t *testing.T) {
	cfg, err := ParseConfig([]byte(fullS3))
	require.NoError(t, err)
	cfg.S3.SecretKey = "hunter2"
	inYAML, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	inJSON, err := json.Marshal(cfg)
	require.NoError(t, err)
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "config", cfg.S3, "secret", cfg.S3.SecretKey)
	for _, shown := range []string{
		string(inYAML), string(inJSON), logged.String(), fmt.Sprint(cfg.S3), fmt.Sprintf("%+v", *cfg.S3), fmt.Sprintf("%#v", *cfg.S3),
	} {
		require.NotContains(t, shown, "hunter2")
		require.Contains(t, strings.ToLower(shown), "secret")
	}
	require.Empty(t, Secret("").String())
}

func TestInstrument(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := Instrument(NewMemory(), reg)
	_, err := b.Get(t.Context(), "missing")
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, b.Put(t.Context(), "k", strings.NewReader("x"), 1))
	require.Error(t, b.Put(t.Context(), "k", strings.NewReader("x"), 2))
	r, err := b.Get(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, r.Close())
	for i := range 2001 {
		require.NoError(t, b.(instrumented).Bucket.Put(t.Context(), fmt.Sprint("many/", i), strings.NewReader(""), 0))
	}
	for _, prefix := range []string{"many/", "many/1000", "none/"} {
		require.NoError(t, b.List(t.Context(), prefix, true, func(Object) error { return nil }))
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = " " + l.GetValue()
			}
			got[f.GetName()+label] = m.GetCounter().GetValue()
		}
	}
	require.EqualValues(t, 2, got["penstock_bucket_operations_total get"])
	require.EqualValues(t, 2, got["penstock_bucket_operations_total put"])
	require.EqualValues(t, 0, got["penstock_bucket_operation_failures_total get"], "not there is an answer")
	require.EqualValues(t, 1, got["penstock_bucket_operation_failures_total put"])
	require.EqualValues(t, 3, got["penstock_bucket_operations_total list"])
	require.EqualValues(t, 3+1+1, got["penstock_bucket_list_pages_total"])
	require.Contains(t, got, "penstock_bucket_operation_duration_seconds list", "all values of the label are there from the start")
}

func TestPartSizeFor(t *testing.T) {
	require.EqualValues(t, 5<<20, partSizeFor(100<<20, 5<<20))
	size := int64(1 << 40)
	part := partSizeFor(size, 5<<20)
	require.LessOrEqual(t, (size+part-1)/part, int64(partsMax))
}
