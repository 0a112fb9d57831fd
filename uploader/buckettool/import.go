// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb/tombstones"

	"github.com/penstock-io/penstock/uploader/blockdir"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// sourceImport is what Thanos calls blocks that somebody uploaded.
	sourceImport = "bucket.upload"
	// DefaultImportAttempts is how often a download or upload is tried; what was done of it is not done again.
	DefaultImportAttempts = 4
	// DefaultImportBackoff is the wait after the first failure; each further one doubles it.
	DefaultImportBackoff = time.Second
)

// RefusedError says why a block cannot be imported; trying again does not help.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Importer brings blocks into a bucket. It is for one goroutine.
type Importer struct {
	To       *bucket.Blocks
	From     *bucket.Blocks // Nil when blocks come from this machine.
	Scratch  string         // Directory with room for the largest block, for blocks from another bucket.
	Attempts int            // 0: DefaultImportAttempts.
	Backoff  time.Duration  // 0: DefaultImportBackoff.
}

// Import reads a block from the first byte to the last, and uploads it if it is sound: verified, meta.json last. It can be
// called again after any error; what is already there and right is not sent again. A *RefusedError is about the block.
func (i *Importer) Import(ctx context.Context, s Step) (err error) {
	if s.Action != ActionImport {
		return &RefusedError{s.Reason}
	}
	dir := s.candidate.Dir
	if dir == "" {
		scratch, err := os.MkdirTemp(i.Scratch, scratchPattern)
		if err != nil {
			return fmt.Errorf("make scratch directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
		dir = filepath.Join(scratch, s.ULID.String())
		if err := i.fetch(ctx, s, dir); err != nil {
			return err
		}
	}
	if err := importable(ctx, dir, s); err != nil {
		return err
	}
	section := s.candidate.Meta.Thanos
	if section.Source == "" {
		section.Source = sourceImport
	}
	return i.retry(ctx, func() error { return i.To.PutBlockAs(ctx, dir, section) })
}

// fetch downloads a block, which is verified against its meta.json.
func (i *Importer) fetch(ctx context.Context, s Step, dir string) error {
	err := i.retry(ctx, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		_, err := i.From.Download(ctx, s.ULID, dir)
		return err
	})
	if errors.Is(err, bucket.ErrBroken) || errors.Is(err, bucket.ErrBadMeta) {
		return &RefusedError{err.Error()}
	}
	return err
}

// importable says what is wrong with a block on disk, if anything is.
func importable(ctx context.Context, dir string, s Step) error {
	t, _, err := tombstones.ReadTombstones(dir)
	if err != nil {
		return &RefusedError{fmt.Sprintf("its tombstones cannot be read: %v", err)}
	}
	if n := t.Total(); n > 0 {
		return &RefusedError{fmt.Sprintf("it has %d tombstones, and what was deleted would come back: "+
			"make Prometheus clean them (POST /api/v1/admin/tsdb/clean_tombstones) and import what it makes of the block", n)}
	}
	m := s.candidate.Meta
	report, err := blockdir.Check(ctx, dir, blockdir.Options{Meta: m.BlockMeta, Resolution: m.Thanos.Downsample.Resolution})
	if err != nil {
		return err
	}
	if err := issuesError(report); err != nil {
		return &RefusedError{err.Error()}
	}
	return nil
}

// retry does something until it succeeds, or trying again would not help.
func (i *Importer) retry(ctx context.Context, do func() error) error {
	attempts, backoff := i.Attempts, i.Backoff
	if attempts == 0 {
		attempts = DefaultImportAttempts
	}
	if backoff == 0 {
		backoff = DefaultImportBackoff
	}
	for n := 1; ; n++ {
		err := do()
		if err == nil || n >= attempts || ctx.Err() != nil || isFinal(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff):
		}
		backoff *= 2
	}
}

// isFinal says that trying again would not help.
func isFinal(err error) bool {
	return errors.Is(err, bucket.ErrAccessDenied) || errors.Is(err, bucket.ErrNotFound) || errors.Is(err, os.ErrNotExist)
}
