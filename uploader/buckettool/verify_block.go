// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/blockdir"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	scratchPattern = "penstock-bucket-"
	metaFile       = "meta.json"
	indexFile      = "index"

	todoDamaged = "`penstock bucket mark --marker=no-compact`, or --repair, keeps it out of compaction; if its samples are elsewhere mark it for deletion"
)

// CheckBlock reads a block from the first byte to the last: objects against the list in meta.json, by size and checksum, and
// what is in them. It reads on after damage, to say how far it goes. Read is told of bytes that were fetched; it may be nil.
// A block that goes away meanwhile has no findings.
func CheckBlock(ctx context.Context, blocks *bucket.Blocks, meta bucket.Meta, scratch string, read func(int64)) (_ []Finding, err error) {
	dir, err := os.MkdirTemp(scratch, scratchPattern)
	if err != nil {
		return nil, fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &blockCheck{id: meta.ULID, blocks: blocks, dir: dir, read: read}
	if err := c.files(ctx, meta); err != nil {
		return nil, err
	}
	if len(c.findings) > 0 {
		if there, err := blocks.Exists(ctx, meta.ULID); err != nil || !there {
			return nil, err
		}
	}
	report, err := blockdir.Check(ctx, dir, blockdir.Options{Meta: meta.BlockMeta, Resolution: meta.Thanos.Downsample.Resolution})
	if err != nil {
		return nil, err
	}
	for _, issue := range report.Issues {
		c.damage(string(issue.Kind), "%s", issue.Detail())
	}
	return c.findings, nil
}

type blockCheck struct {
	id       ulid.ULID
	blocks   *bucket.Blocks
	dir      string
	read     func(int64)
	findings []Finding
}

func (c *blockCheck) damage(kind, format string, args ...any) {
	c.findings = append(c.findings, Finding{
		Severity: Error, Kind: kind, Blocks: []ulid.ULID{c.id}, Detail: fmt.Sprintf(format, args...), Todo: todoDamaged, repair: quarantine,
	})
}

// files fetches the files of the block, and compares them with what meta.json says of them.
func (c *blockCheck) files(ctx context.Context, meta bucket.Meta) error {
	objects, err := c.blocks.Objects(ctx, c.id)
	if err != nil {
		return err
	}
	listed := meta.Thanos.Files
	find := func(rel string) int {
		return slices.IndexFunc(listed, func(f bucket.File) bool { return f.RelPath == rel })
	}
	for _, f := range listed {
		if !slices.ContainsFunc(objects, func(o bucket.BlockObject) bool { return o.RelPath == f.RelPath }) {
			c.damage("missing-file", "%s is not in the bucket", f.RelPath)
		}
	}
	if len(listed) == 0 && !slices.ContainsFunc(objects, func(o bucket.BlockObject) bool { return o.RelPath == indexFile }) {
		c.damage("missing-file", "%s is not in the bucket", indexFile)
	}
	for _, o := range objects {
		if !o.File || o.RelPath == metaFile {
			continue
		}
		i := find(o.RelPath)
		if i < 0 && len(listed) > 0 {
			c.findings = append(c.findings, Finding{
				Severity: Warning, Kind: "unknown-file", Blocks: []ulid.ULID{c.id}, Detail: o.RelPath + " is not in the list of files in meta.json",
				Todo: "readers do not look at it; it goes when the block is deleted",
			})
			continue
		}
		file := bucket.File{RelPath: o.RelPath}
		if i >= 0 {
			file = listed[i]
		}
		if err := c.file(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// file fetches one file and compares size and checksum.
func (c *blockCheck) file(ctx context.Context, want bucket.File) (err error) {
	name := filepath.Join(c.dir, filepath.FromSlash(want.RelPath))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make scratch file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	n, err := c.blocks.FetchFile(ctx, c.id, want.RelPath, io.MultiWriter(f, sum, countWriter(c.read)))
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		c.damage("missing-file", "%s went away", want.RelPath)
		return nil
	case err != nil:
		return err
	}
	if want.SizeBytes > 0 && n != want.SizeBytes {
		c.damage("size", "%s has %d bytes, and meta.json says %d", want.RelPath, n, want.SizeBytes)
	} else if h := want.Hash; h != nil && h.Func == "SHA256" {
		if got := hex.EncodeToString(sum.Sum(nil)); got != h.Value {
			c.damage("checksum", "%s has SHA-256 %s, and meta.json says %s", want.RelPath, got, h.Value)
		}
	}
	return nil
}

// countWriter tells how much was written; a nil one does nothing.
type countWriter func(int64)

func (w countWriter) Write(p []byte) (int, error) {
	if w != nil {
		w(int64(len(p)))
	}
	return len(p), nil
}
