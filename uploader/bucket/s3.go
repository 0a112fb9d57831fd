// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 is a Bucket on S3 or a server that speaks its protocol.
type S3 struct {
	cfg    S3Config
	client *s3.Client
	http   *http.Client
	write  writeOptions
}

// Name implements Bucket. Buckets of two servers may have one name, so that the server is part of it.
func (b *S3) Name() string { return "s3://" + b.cfg.Endpoint + "/" + b.cfg.Bucket }

// Close implements Bucket.
func (b *S3) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

// List implements Bucket.
func (b *S3) List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &b.cfg.Bucket, Prefix: &prefix}
	if !recursive {
		in.Delimiter = aws.String("/")
	}
	for pages := s3.NewListObjectsV2Paginator(b.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s3Error("list", prefix, err)
		}
		for _, o := range objectsOf(page) {
			if err := fn(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectsOf merges the two lists of a page into the order of their keys. Objects whose key ends in a slash are what some
// tools leave behind as a mark of an empty directory.
func objectsOf(page *s3.ListObjectsV2Output) []Object {
	found := make([]Object, 0, len(page.Contents)+len(page.CommonPrefixes))
	for _, o := range page.Contents {
		if key := aws.ToString(o.Key); !strings.HasSuffix(key, "/") {
			found = append(found, Object{
				Key: key, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified), ETag: aws.ToString(o.ETag),
			})
		}
	}
	for _, p := range page.CommonPrefixes {
		found = append(found, Object{Key: aws.ToString(p.Prefix), Prefix: true})
	}
	slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// Get implements Bucket.
func (b *S3) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	out, err := b.getObject(ctx, "get", key, nil)
	if err != nil {
		return nil, err
	}
	return out.Body, nil
}

// GetRange implements Bucket.
func (b *S3) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	const op = "get range of"
	var header string
	switch {
	case length == 0 || (off < 0 && length > 0):
		return nil, fmt.Errorf("%s %q: %w: offset %d and length %d", op, key, ErrInvalidRange, off, length)
	case off < 0:
		header = fmt.Sprintf("bytes=%d", off)
	case length < 0:
		header = fmt.Sprintf("bytes=%d-", off)
	default:
		header = fmt.Sprintf("bytes=%d-%d", off, off+length-1)
	}
	out, err := b.getObject(ctx, op, key, &header)
	if err != nil {
		return nil, err
	}
	r, err := contentOf(out, off, length)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", op, key, err)
	}
	return r, nil
}

func (b *S3) getObject(ctx context.Context, op, key string, byteRange *string) (*s3.GetObjectOutput, error) {
	if err := ValidateKey(key); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.cfg.Bucket, Key: &key, Range: byteRange})
	if err != nil {
		return nil, s3Error(op, key, err)
	}
	return out, nil
}

// Attributes implements Bucket.
func (b *S3) Attributes(ctx context.Context, key string) (Attributes, error) {
	if err := ValidateKey(key); err != nil {
		return Attributes{}, fmt.Errorf("stat: %w", err)
	}
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.cfg.Bucket, Key: &key})
	if err != nil {
		return Attributes{}, s3Error("stat", key, err)
	}
	return Attributes{
		Size: aws.ToInt64(out.ContentLength), ModTime: aws.ToTime(out.LastModified), ETag: aws.ToString(out.ETag),
	}, nil
}

// Exists implements Bucket.
func (b *S3) Exists(ctx context.Context, key string) (bool, error) {
	_, err := b.Attributes(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put implements Bucket.
func (b *S3) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	_, err := b.put(ctx, key, r, size, condition{})
	return err
}

// PutIfAbsent implements Bucket.
func (b *S3) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (string, error) {
	return b.put(ctx, key, r, size, condition{ifNoneMatch: aws.String("*")})
}

// PutIfMatch implements Bucket.
func (b *S3) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (string, error) {
	newETag, err := b.put(ctx, key, r, size, condition{ifMatch: &etag})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("put %q: %w: the object is gone", key, ErrPrecondition)
	}
	return newETag, err
}

// condition is what a write asks of the object that it replaces.
type condition struct{ ifMatch, ifNoneMatch *string }

func (b *S3) put(ctx context.Context, key string, r io.Reader, size int64, cond condition) (string, error) {
	if err := ValidateKey(key); err != nil {
		return "", fmt.Errorf("put: %w", err)
	}
	etag, err := b.upload(ctx, key, r, size, cond)
	if err != nil {
		return "", s3Error("put", key, err)
	}
	return etag, nil
}

func (b *S3) upload(ctx context.Context, key string, r io.Reader, size int64, cond condition) (string, error) {
	if size < 0 {
		return "", fmt.Errorf("%w: the size %d is negative", ErrSizeMismatch, size)
	}
	if size > int64(b.cfg.PartSize) && !b.cfg.DisableMultipart {
		return b.uploadParts(ctx, key, r, size, cond)
	}
	body, err := bodyOf(r, size)
	if err != nil {
		return "", err
	}
	if err := expectEOF(r, size); err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{
		Bucket: &b.cfg.Bucket, Key: &key, Body: body, ContentLength: &size,
		IfMatch: cond.ifMatch, IfNoneMatch: cond.ifNoneMatch,
		Metadata:             b.write.metadata,
		StorageClass:         b.write.storageClass,
		ServerSideEncryption: b.write.encryption, SSEKMSKeyId: b.write.kmsKeyID, SSEKMSEncryptionContext: b.write.kmsContext,
	}
	if in.ContentMD5, err = b.contentMD5(body); err != nil {
		return "", err
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

// bodyOf returns the next size bytes of r as something that can be read again: a request is signed over its body before
// it is sent, and may be sent more than once. What is not a file is held in memory, at most one part at a time.
func bodyOf(r io.Reader, size int64) (io.ReadSeeker, error) {
	if file, ok := r.(interface {
		io.ReaderAt
		io.ReadSeeker
	}); ok {
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		end, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, err
		}
		if end-at < size {
			return nil, fmt.Errorf("%w: %d of %d bytes", ErrSizeMismatch, end-at, size)
		}
		_, err = file.Seek(at+size, io.SeekStart)
		return io.NewSectionReader(file, at, size), err
	}
	buf := make([]byte, size)
	if n, err := io.ReadFull(r, buf); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %d of %d bytes", ErrSizeMismatch, n, size)
		}
		return nil, err
	}
	return bytes.NewReader(buf), nil
}

// Delete implements Bucket.
func (b *S3) Delete(ctx context.Context, key string) error {
	if err := ValidateKey(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.cfg.Bucket, Key: &key})
	if err = s3Error("delete", key, err); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}
