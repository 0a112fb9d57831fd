// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// refillDir is scratch space on the store's file system. Its name is no tenant's.
const refillDir = ".refill"

// RefillDir is a directory on the file system of the store, to make blocks in that
// AddBlock then takes. It is empty after Open.
func (s *Store) RefillDir() string { return filepath.Join(s.cfg.Dir, refillDir) }

// emptyRefillDir removes what an earlier process left in it.
func emptyRefillDir(dir string) error {
	path := filepath.Join(dir, refillDir)
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("empty refill directory: %w", err)
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		return fmt.Errorf("make refill directory: %w", err)
	}
	return nil
}

// AddBlock takes a finished block in a directory named by its ULID, on the file
// system of the store, moves it among the blocks of the tenant and loads it. The
// tenant is made if need be.
//
// The block is read whole before. It must say of itself that it is made from
// out-of-order samples: the TSDB takes the end of any other block for the time up to
// which its head was cut, and would drop samples of its write-ahead log at the next start.
//
// The rename is the commit. After an error AddBlock may be called again with the same
// directory; if the block was moved before, it is only loaded.
func (s *Store) AddBlock(ctx context.Context, tenant, dir string) error {
	t, err := s.writable(ctx, tenant)
	if err != nil {
		return err
	}
	id, err := ulid.ParseStrict(filepath.Base(dir))
	if err != nil {
		return fmt.Errorf("add block: directory %q is not named by a ULID: %w", dir, err)
	}
	moved, err := t.hasBlockDir(id)
	if err == nil && !moved {
		err = checkAddable(ctx, dir, id, s.cfg.BlockDuration.Milliseconds())
	}
	if err == nil {
		err = t.addBlock(ctx, dir, id)
	}
	if err != nil {
		return fmt.Errorf("add block %s to tenant %q: %w", id, tenant, err)
	}
	return nil
}

// hasBlockDir tells whether the tenant has a directory of that block.
func (t *tenant) hasBlockDir(id ulid.ULID) (bool, error) {
	_, err := os.Stat(filepath.Join(t.dir, id.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// addBlock moves a good block in and loads it.
func (t *tenant) addBlock(ctx context.Context, dir string, id ulid.ULID) error {
	t.work.Lock()
	defer t.work.Unlock()
	inst := t.inst.Load()
	if inst == nil || inst.failed.Load() || t.closed {
		return ErrReopening
	}
	moved, err := t.hasBlockDir(id)
	if err != nil {
		return err
	}
	if !moved {
		if err := errors.Join(writeBlockSum(dir), syncTree(dir)); err != nil {
			return err
		}
		if err := os.Rename(dir, filepath.Join(t.dir, id.String())); err != nil {
			return err
		}
		if err := errors.Join(syncPath(t.dir), syncPath(filepath.Dir(dir))); err != nil {
			return err
		}
	}
	if _, loaded := blockIDs(inst.db)[id]; loaded {
		return nil
	}
	if err := t.reload(ctx, inst); err != nil {
		return err
	}
	if _, loaded := blockIDs(inst.db)[id]; loaded {
		t.scrub.note(id, true)
		t.store.metrics.blocksAdded.Inc()
		return nil
	}
	// Past retention and held elsewhere, it went as any other does.
	if still, err := t.hasBlockDir(id); err != nil || !still {
		return err
	}
	return errors.New("the TSDB has not loaded it yet")
}

// checkAddable reads the whole block and tells why it must not be added.
func checkAddable(ctx context.Context, dir string, id ulid.ULID, width int64) error {
	meta, err := readBlockMeta(dir)
	if err != nil {
		return err
	}
	c := meta.Compaction
	switch {
	case meta.ULID != id:
		return fmt.Errorf("its meta.json is of block %s", meta.ULID)
	case !c.FromOutOfOrder():
		return errors.New("its meta.json has no from-out-of-order hint")
	case len(c.Parents) > 0 || c.Deletable || c.Failed:
		return errors.New("it was compacted from other blocks, which would be deleted for it")
	case meta.MinTime >= meta.MaxTime || floorTo(meta.MinTime, width) != floorTo(meta.MaxTime-1, width):
		return fmt.Errorf("its range from %d to %d is not within one block duration", meta.MinTime, meta.MaxTime)
	}
	return verifyBlock(ctx, dir, func(int) {})
}

// floorTo is the last multiple of width at or before ms.
func floorTo(ms, width int64) int64 {
	rest := ms % width
	if rest < 0 {
		rest += width
	}
	return ms - rest
}

func readBlockMeta(dir string) (tsdb.BlockMeta, error) {
	var meta tsdb.BlockMeta
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return meta, fmt.Errorf("read block meta: %w", err)
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return meta, fmt.Errorf("decode block meta: %w", err)
	}
	return meta, nil
}

// verifyBlock reads every series and every chunk of a block and checks their sums,
// and that all is within the block's range. It calls progress with the bytes of
// chunks that it read.
func verifyBlock(ctx context.Context, dir string, progress func(n int)) (err error) {
	block, err := openBlock(dir)
	if err != nil {
		return fmt.Errorf("open block: %w", err)
	}
	defer func() { err = errors.Join(err, block.Close()) }()
	defer recoverDamage(&err)
	return readBlock(ctx, block, progress)
}

// readBlock is verifyBlock for an open block.
func readBlock(ctx context.Context, block *tsdb.Block, progress func(n int)) (err error) {
	ir, err := block.Index()
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, ir.Close()) }()
	cr, err := block.Chunks()
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	defer func() { err = errors.Join(err, cr.Close()) }()
	name, value := index.AllPostingsKey()
	postings, err := ir.Postings(ctx, name, value)
	if err != nil {
		return fmt.Errorf("read postings: %w", err)
	}
	if err := readPostings(ctx, ir); err != nil {
		return err
	}
	return readSeries(ctx, block.Meta(), blockReaders{ir, cr}, postings, progress)
}

// readPostings opens the list of series of every label, which checks its sum.
func readPostings(ctx context.Context, ir tsdb.IndexReader) error {
	names, err := ir.LabelNames(ctx)
	if err != nil {
		return fmt.Errorf("read label names: %w", err)
	}
	for _, name := range names {
		values, err := ir.LabelValues(ctx, name, nil)
		if err != nil {
			return fmt.Errorf("read values of label %q: %w", name, err)
		}
		for _, value := range values {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			postings, err := ir.Postings(ctx, name, value)
			if err != nil {
				return fmt.Errorf("read postings of %s=%q: %w", name, value, err)
			}
			if !postings.Next() {
				return fmt.Errorf("no series has %s=%q: %w", name, value, postings.Err())
			}
		}
	}
	return nil
}

type blockReaders struct {
	index  tsdb.IndexReader
	chunks tsdb.ChunkReader
}

func readSeries(ctx context.Context, meta tsdb.BlockMeta, r blockReaders, postings index.Postings, progress func(n int)) error {
	var (
		builder labels.ScratchBuilder
		metas   []chunks.Meta
	)
	for postings.Next() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := r.index.Series(postings.At(), &builder, &metas); err != nil {
			return fmt.Errorf("read series %d: %w", postings.At(), err)
		}
		for _, m := range metas {
			if m.MinTime < meta.MinTime || m.MaxTime >= meta.MaxTime {
				return fmt.Errorf("series %d has a chunk from %d to %d, outside the block", postings.At(), m.MinTime, m.MaxTime)
			}
			chunk, _, err := r.chunks.ChunkOrIterable(m) // Checks the sum.
			if err != nil {
				return fmt.Errorf("read chunk of series %d: %w", postings.At(), err)
			}
			progress(len(chunk.Bytes()))
		}
	}
	if err := postings.Err(); err != nil {
		return fmt.Errorf("read postings: %w", err)
	}
	return nil
}

// syncTree makes the files and directories of a block durable, before its name is.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}
