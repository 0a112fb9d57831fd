// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// S3Config is the config section of type S3, with the keys that Thanos documents.
type S3Config struct {
	Bucket             string            `yaml:"bucket"`
	Endpoint           string            `yaml:"endpoint"` // host[:port]; a URL is accepted, its scheme then decides on TLS.
	Region             string            `yaml:"region"`   // Default: from an AWS endpoint, else us-east-1.
	AccessKey          string            `yaml:"access_key"`
	SecretKey          Secret            `yaml:"secret_key"`
	SessionToken       Secret            `yaml:"session_token"`
	AWSSDKAuth         bool              `yaml:"aws_sdk_auth"` // Also without keys: environment, shared files, instance role.
	Insecure           bool              `yaml:"insecure"`     // HTTP instead of HTTPS.
	SignatureVersion2  bool              `yaml:"signature_version2"`
	BucketLookupType   string            `yaml:"bucket_lookup_type"` // auto and path: path style; virtual-hosted.
	PartSize           uint64            `yaml:"part_size"`          // Bytes; default 64 MiB, at least 5 MiB.
	DisableMultipart   bool              `yaml:"disable_multipart"`
	SendContentMD5     bool              `yaml:"send_content_md5"` // Content-MD5 on every PUT; bodies are always covered by the signature.
	PutUserMetadata    map[string]string `yaml:"put_user_metadata"`
	SSEConfig          SSEConfig         `yaml:"sse_config"`
	HTTPConfig         HTTPConfig        `yaml:"http_config"`
	ListObjectsVersion string            `yaml:"list_objects_version"` // Only v2.
	DisableDualstack   bool              `yaml:"disable_dualstack"`
	TraceConfig        TraceConfig       `yaml:"trace"`
	STSEndpoint        string            `yaml:"sts_endpoint"`
}

// SSEConfig asks the store to encrypt what is written.
type SSEConfig struct {
	Type                 string            `yaml:"type"` // SSE-S3 or SSE-KMS.
	KMSKeyID             string            `yaml:"kms_key_id"`
	KMSEncryptionContext map[string]string `yaml:"kms_encryption_context"`
	EncryptionKey        string            `yaml:"encryption_key"`
}

// HTTPConfig shapes the connections to the store.
type HTTPConfig struct {
	IdleConnTimeout       model.Duration `yaml:"idle_conn_timeout"`
	ResponseHeaderTimeout model.Duration `yaml:"response_header_timeout"`
	TLSHandshakeTimeout   model.Duration `yaml:"tls_handshake_timeout"`
	ExpectContinueTimeout model.Duration `yaml:"expect_continue_timeout"`
	MaxIdleConns          int            `yaml:"max_idle_conns"`
	MaxIdleConnsPerHost   int            `yaml:"max_idle_conns_per_host"`
	MaxConnsPerHost       int            `yaml:"max_conns_per_host"`
	InsecureSkipVerify    bool           `yaml:"insecure_skip_verify"`
	TLSConfig             TLSConfig      `yaml:"tls_config"`
	ForceAttemptHTTP2     bool           `yaml:"force_attempt_http2"`
	DisableCompression    bool           `yaml:"disable_compression"`
}

// TLSConfig names the files of the TLS client.
type TLSConfig struct {
	CAFile             string `yaml:"ca_file"`
	CertFile           string `yaml:"cert_file"`
	KeyFile            string `yaml:"key_file"`
	ServerName         string `yaml:"server_name"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"`
}

// TraceConfig is accepted for the sake of existing files.
type TraceConfig struct {
	Enable bool `yaml:"enable"`
}

const (
	// partSizeDefault is Thanos' default: a block's 512 MiB chunk segment makes eight parts.
	partSizeDefault = 64 << 20
	// partSizeMin is S3's bound for every part but the last.
	partSizeMin = 5 << 20
	// partsMax is S3's bound on the number of parts.
	partsMax = 10000

	regionDefault = "us-east-1"

	lookupAuto    = "auto"
	lookupPath    = "path"
	lookupVirtual = "virtual-hosted"

	sseS3  = "SSE-S3"
	sseKMS = "SSE-KMS"
	sseC   = "SSE-C"
)

// DefaultS3Config returns what holds for keys that are not given. A response header may take long: a store commits a large
// multipart upload before it answers.
func DefaultS3Config() S3Config {
	return S3Config{
		PartSize:         partSizeDefault,
		BucketLookupType: lookupAuto,
		HTTPConfig: HTTPConfig{
			IdleConnTimeout:       model.Duration(90 * time.Second),
			ResponseHeaderTimeout: model.Duration(2 * time.Minute),
			TLSHandshakeTimeout:   model.Duration(10 * time.Second),
			ExpectContinueTimeout: model.Duration(time.Second),
			MaxIdleConns:          100,
			MaxIdleConnsPerHost:   100,
		},
	}
}

func parseS3(content []byte) (*S3Config, []string, error) {
	cfg := DefaultS3Config()
	if _, err := decodeFile(content, &cfg); err != nil {
		return nil, nil, err
	}
	if err := cfg.normalise(); err != nil {
		return nil, nil, err
	}
	var warnings []string
	if cfg.SignatureVersion2 {
		warnings = append(warnings, "signature_version2 is ignored: requests are signed with version 4")
	}
	if cfg.TraceConfig.Enable {
		warnings = append(warnings, "trace is ignored: requests are counted and timed by the penstock_bucket_ metrics")
	}
	return &cfg, warnings, nil
}

// normalise checks the section and brings the endpoint to host[:port].
func (c *S3Config) normalise() error {
	switch {
	case c.Bucket == "":
		return missingKey("bucket", "config", "the name of the bucket")
	case c.Endpoint == "":
		return missingKey("endpoint", "config", "host[:port] of the store, such as s3.eu-central-1.amazonaws.com")
	case c.AWSSDKAuth && c.AccessKey != "":
		return fmt.Errorf("keys %q and %q exclude each other; keep one", "aws_sdk_auth", "access_key")
	case c.AccessKey == "" && c.SecretKey != "":
		return missingKey("access_key", "config", "there is a secret_key, and they come in pairs")
	case c.AccessKey != "" && c.SecretKey == "":
		return missingKey("secret_key", "config", "there is an access_key, and they come in pairs")
	case c.STSEndpoint != "":
		return fmt.Errorf("key %q is not supported; set AWS_ENDPOINT_URL_STS in the environment instead", "sts_endpoint")
	case c.ListObjectsVersion != "" && c.ListObjectsVersion != "v2":
		return fmt.Errorf("key %q: %q is not supported; use v2", "list_objects_version", c.ListObjectsVersion)
	case c.PartSize < partSizeMin:
		return fmt.Errorf("key %q: %d is too small; S3 wants at least %d bytes", "part_size", c.PartSize, partSizeMin)
	}
	switch c.BucketLookupType {
	case lookupAuto, lookupPath, lookupVirtual:
	default:
		return fmt.Errorf("key %q: %q is unknown; use %s, %s or %s",
			"bucket_lookup_type", c.BucketLookupType, lookupAuto, lookupPath, lookupVirtual)
	}
	if err := c.SSEConfig.check(); err != nil {
		return err
	}
	return c.normaliseEndpoint()
}

func (c *S3Config) normaliseEndpoint() error {
	endpoint := c.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	} else {
		c.Insecure = strings.HasPrefix(endpoint, "http://")
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || (u.Scheme != "http" && u.Scheme != "https") {
		// What was given is not repeated: it may hold credentials.
		return fmt.Errorf("key %q: want host[:port] without path and credentials", "endpoint")
	}
	c.Endpoint = u.Host
	if c.Region == "" {
		c.Region = regionOf(u.Hostname())
	}
	return nil
}

// regionOf reads the region from the name of an AWS endpoint: s3.<region>.amazonaws.com, also with dualstack.
func regionOf(host string) string {
	name, isAWS := strings.CutSuffix(strings.TrimSuffix(host, ".cn"), ".amazonaws.com")
	region, hasRegion := strings.CutPrefix(name, "s3.")
	if !isAWS || !hasRegion {
		return regionDefault
	}
	return strings.TrimPrefix(region, "dualstack.")
}

func (c SSEConfig) check() error {
	switch c.Type {
	case "", sseS3:
		return nil
	case sseKMS:
		if c.KMSKeyID == "" {
			return missingKey("kms_key_id", "config.sse_config", "SSE-KMS needs the id of a key")
		}
		return nil
	case sseC:
		return fmt.Errorf("key %q in section %q: SSE-C is not supported, since other tools then cannot read the bucket; use %s or %s",
			"type", "config.sse_config", sseS3, sseKMS)
	default:
		return fmt.Errorf("key %q in section %q: %q is unknown; use %s or %s", "type", "config.sse_config", c.Type, sseS3, sseKMS)
	}
}
