// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

const (
	// verifyWholeMax is up to which size an object is read back whole: the traffic of that is small beside the upload's.
	verifyWholeMax = 8 << 20
	// verifyEdge is how much of each end of a larger object is read back.
	verifyEdge = 1 << 20
)

// copyBytes is how much of a file is read and written at a time: io.Copy takes an eighth of it, and a fifth more CPU time.
const copyBytes = 256 << 10

// copyAll is io.Copy for files of blocks.
func copyAll(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, copyBytes))
}

// errVerify says that an object in the bucket is not what was uploaded.
var errVerify = errors.New("verify: the object in the bucket differs from the local file")

// verify makes sure that the object k holds what file says. The size is asked from the store. Up to verifyWholeMax bytes
// are read back and compared by SHA-256; of larger objects both ends are compared, which together with the size finds what
// happens to them: truncated, empty, parts missing or in the wrong order. The middle rests on the signature that S3 checks
// over every request's body, and on the SHA-256 in meta.json, which every download is checked against.
func (b *Blocks) verify(ctx context.Context, k string, local io.ReaderAt, file File) error {
	attrs, err := b.bucket.Attributes(ctx, k)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if attrs.Size != file.SizeBytes {
		return fmt.Errorf("%w: %s has %d bytes, want %d", errVerify, k, attrs.Size, file.SizeBytes)
	}
	if file.SizeBytes <= verifyWholeMax {
		return b.verifyWhole(ctx, k, file)
	}
	for _, off := range []int64{0, file.SizeBytes - verifyEdge} {
		if err := b.verifyRange(ctx, k, local, off); err != nil {
			return err
		}
	}
	return nil
}

func (b *Blocks) verifyWhole(ctx context.Context, k string, file File) error {
	r, err := b.bucket.Get(ctx, k)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	sum := sha256.New()
	_, err = copyAll(sum, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("verify %s: %w", k, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != file.Hash.Value {
		return fmt.Errorf("%w: %s has SHA-256 %s, want %s", errVerify, k, got, file.Hash.Value)
	}
	return nil
}

func (b *Blocks) verifyRange(ctx context.Context, k string, local io.ReaderAt, off int64) error {
	want := make([]byte, verifyEdge)
	if _, err := local.ReadAt(want, off); err != nil {
		return fmt.Errorf("verify %s: %w", k, err)
	}
	r, err := b.bucket.GetRange(ctx, k, off, verifyEdge)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	got, err := io.ReadAll(io.LimitReader(r, verifyEdge+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("verify %s: %w", k, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %s at byte %d", errVerify, k, off)
	}
	return nil
}
