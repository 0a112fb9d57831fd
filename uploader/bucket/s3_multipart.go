// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// abortTimeout bounds the clean-up after a failed upload, which runs on although the upload's context may be over: parts
// that nobody completes or aborts are stored, and paid for, until a lifecycle rule finds them.
const abortTimeout = 30 * time.Second

// uploadParts writes an object in parts, one after the other: blocks are uploaded in the background, where a second stream
// would only take memory and bandwidth from what is not. CompleteMultipartUpload is the commit, and carries the condition.
func (b *S3) uploadParts(ctx context.Context, key string, r io.Reader, size int64, cond condition) (_ string, err error) {
	created, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.cfg.Bucket, Key: &key,
		Metadata:             b.write.metadata,
		StorageClass:         b.write.storageClass,
		ServerSideEncryption: b.write.encryption, SSEKMSKeyId: b.write.kmsKeyID, SSEKMSEncryptionContext: b.write.kmsContext,
	})
	if err != nil {
		return "", fmt.Errorf("create multipart upload: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.abort(ctx, key, created.UploadId))
		}
	}()
	partSize := partSizeFor(size, int64(b.cfg.PartSize))
	var parts []types.CompletedPart
	for off := int64(0); off < size; off += partSize {
		part, err := b.uploadPart(ctx, key, created.UploadId, int32(len(parts)+1), r, min(partSize, size-off))
		if err != nil {
			return "", fmt.Errorf("upload part %d at byte %d: %w", len(parts)+1, off, err)
		}
		parts = append(parts, part)
	}
	if err := expectEOF(r, size); err != nil {
		return "", err
	}
	out, err := b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &b.cfg.Bucket, Key: &key, UploadId: created.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		IfMatch:         cond.ifMatch, IfNoneMatch: cond.ifNoneMatch,
	})
	if err != nil {
		return "", fmt.Errorf("complete multipart upload: %w", err)
	}
	return aws.ToString(out.ETag), nil
}

// partSizeFor raises the configured size where there would otherwise be more parts than S3 takes.
func partSizeFor(size, configured int64) int64 {
	return max(configured, (size+partsMax-1)/partsMax)
}

func (b *S3) uploadPart(
	ctx context.Context, key string, uploadID *string, number int32, r io.Reader, size int64,
) (types.CompletedPart, error) {
	body, err := bodyOf(r, size)
	if err != nil {
		return types.CompletedPart{}, err
	}
	sum, err := b.contentMD5(body)
	if err != nil {
		return types.CompletedPart{}, err
	}
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &b.cfg.Bucket, Key: &key, UploadId: uploadID, PartNumber: &number,
		Body: body, ContentLength: &size, ContentMD5: sum,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{ETag: out.ETag, PartNumber: &number}, nil
}

// abort drops the parts of a failed upload. An upload that is already complete or gone is fine: the error that led here
// may have come after the commit.
func (b *S3) abort(ctx context.Context, key string, uploadID *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &b.cfg.Bucket, Key: &key, UploadId: uploadID,
	})
	var gone *types.NoSuchUpload
	if err == nil || errors.As(err, &gone) {
		return nil
	}
	return fmt.Errorf("abort multipart upload: %w", err)
}
