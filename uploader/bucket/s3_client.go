// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is an integrity check that some stores insist on.
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const (
	// requestAttempts is how often one request is sent before its error is reported. What is above has its own retries,
	// which wait longer; these are for a dropped connection and for a store that asks to slow down.
	requestAttempts = 4
	// requestBackoffMax bounds the wait between two attempts.
	requestBackoffMax = 5 * time.Second
	dialTimeout       = 10 * time.Second
	keepAlive         = 30 * time.Second
)

// writeOptions are what every write of this bucket carries.
type writeOptions struct {
	metadata     map[string]string
	storageClass types.StorageClass
	encryption   types.ServerSideEncryption
	kmsKeyID     *string
	kmsContext   *string // JSON in base64, as the header wants it.
}

// NewS3 returns a client of the bucket. It makes no request.
func NewS3(cfg S3Config) (*S3, error) {
	httpClient, err := newHTTPClient(cfg.HTTPConfig)
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket: %w", err)
	}
	write, err := newWriteOptions(cfg)
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket: %w", err)
	}
	creds, err := newCredentials(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("open s3 bucket: %w", err)
	}
	scheme := "https"
	if cfg.Insecure {
		scheme = "http"
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(scheme + "://" + cfg.Endpoint),
		Region:       cfg.Region,
		UsePathStyle: cfg.BucketLookupType != lookupVirtual,
		Credentials:  creds,
		HTTPClient:   httpClient,
		Retryer:      newRetryer(),
		// Servers other than AWS' own refuse the checksum trailers that the library would otherwise add.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	return &S3{cfg: cfg, client: client, http: httpClient, write: write}, nil
}

// newRetryer adds to the library's rules the conflict that S3 reports when conditional writes of one key meet: it says
// nothing about who wins, and the next attempt does.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = requestAttempts
		o.MaxBackoff = requestBackoffMax
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{
			Codes: map[string]struct{}{"ConditionalRequestConflict": {}},
		})
	})
}

func newCredentials(cfg S3Config, client *http.Client) (aws.CredentialsProvider, error) {
	if cfg.AccessKey != "" {
		return aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(
			cfg.AccessKey, cfg.SecretKey.Reveal(), cfg.SessionToken.Reveal())), nil
	}
	// Environment, shared files, web identity and the instance's role, in this order. Nothing is asked before the first
	// request needs a signature.
	chain, err := awsconfig.LoadDefaultConfig(context.Background(), awsconfig.WithRegion(cfg.Region), awsconfig.WithHTTPClient(client))
	if err != nil {
		return nil, fmt.Errorf("load credentials: %w", err)
	}
	return chain.Credentials, nil
}

// newHTTPClient follows no redirect: a store has no business sending credentials elsewhere.
func newHTTPClient(cfg HTTPConfig) (*http.Client, error) {
	tlsConfig := &tls.Config{
		ServerName:         cfg.TLSConfig.ServerName,
		InsecureSkipVerify: cfg.InsecureSkipVerify || cfg.TLSConfig.InsecureSkipVerify, //nolint:gosec // Asked for by name.
		MinVersion:         tls.VersionTLS12,
	}
	if file := cfg.TLSConfig.CAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %s holds no PEM certificate", file)
		}
	}
	if (cfg.TLSConfig.CertFile == "") != (cfg.TLSConfig.KeyFile == "") {
		return nil, errors.New("cert_file and key_file in http_config.tls_config come in pairs")
	}
	if cfg.TLSConfig.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(cfg.TLSConfig.CertFile, cfg.TLSConfig.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{cert}
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSClientConfig:       tlsConfig,
			TLSHandshakeTimeout:   time.Duration(cfg.TLSHandshakeTimeout),
			ResponseHeaderTimeout: time.Duration(cfg.ResponseHeaderTimeout),
			ExpectContinueTimeout: time.Duration(cfg.ExpectContinueTimeout),
			IdleConnTimeout:       time.Duration(cfg.IdleConnTimeout),
			MaxIdleConns:          cfg.MaxIdleConns,
			MaxIdleConnsPerHost:   cfg.MaxIdleConnsPerHost,
			MaxConnsPerHost:       cfg.MaxConnsPerHost,
			ForceAttemptHTTP2:     cfg.ForceAttemptHTTP2,
			DisableCompression:    true, // Objects are passed on as they are stored.
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func newWriteOptions(cfg S3Config) (writeOptions, error) {
	w := writeOptions{metadata: maps.Clone(cfg.PutUserMetadata)}
	for key, value := range w.metadata {
		if strings.EqualFold(key, "X-Amz-Storage-Class") { // Thanos' way to give the storage class.
			w.storageClass = types.StorageClass(value)
			delete(w.metadata, key)
		}
	}
	switch cfg.SSEConfig.Type {
	case sseS3:
		w.encryption = types.ServerSideEncryptionAes256
	case sseKMS:
		w.encryption = types.ServerSideEncryptionAwsKms
		w.kmsKeyID = &cfg.SSEConfig.KMSKeyID
		if len(cfg.SSEConfig.KMSEncryptionContext) > 0 {
			content, err := json.Marshal(cfg.SSEConfig.KMSEncryptionContext)
			if err != nil {
				return w, fmt.Errorf("encode kms_encryption_context: %w", err)
			}
			w.kmsContext = aws.String(base64.StdEncoding.EncodeToString(content))
		}
	}
	return w, nil
}

// contentMD5 returns the header for a body, nil unless asked for.
func (b *S3) contentMD5(body io.ReadSeeker) (*string, error) {
	if !b.cfg.SendContentMD5 {
		return nil, nil
	}
	h := md5.New() //nolint:gosec // See the import.
	if _, err := io.Copy(h, body); err != nil {
		return nil, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))), nil
}

// s3Error gives an error of the library the meaning that it has for a bucket, in one line with what the store itself said.
// It returns nil for nil.
func s3Error(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); code {
		case "NoSuchKey", "NotFound", "404":
			err = ErrNotFound
		case "PreconditionFailed", "ConditionalRequestConflict":
			err = ErrPrecondition
		case "InvalidRange":
			err = ErrInvalidRange
		case "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403":
			err = fmt.Errorf("%w: %s: %s", ErrAccessDenied, code, api.ErrorMessage())
		case "NoSuchBucket":
			err = fmt.Errorf("%s: %s (create it, or correct %q)", code, api.ErrorMessage(), "bucket")
		case "PermanentRedirect", "AuthorizationHeaderMalformed":
			err = fmt.Errorf("%s: %s (set %q to the bucket's region)", code, api.ErrorMessage(), "region")
		}
	}
	return fmt.Errorf("%s %q: %w", op, key, err)
}
