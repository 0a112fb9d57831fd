// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// examineBlocks sets blocks aside whose meta.json cannot be read or is not what it was: the
// TSDB would go on without them, or without a part of them, and not say so.
func (t *tenant) examineBlocks() error {
	_, err := t.quarantineBlocks(func(id ulid.ULID, dir string) error {
		meta, err := readBlockMeta(dir)
		if err == nil && meta.ULID != id {
			err = fmt.Errorf("its meta.json is of block %s", meta.ULID)
		}
		if err == nil && meta.Version != 1 {
			err = fmt.Errorf("its meta.json has version %d", meta.Version)
		}
		if err == nil {
			err = checkBlockSum(dir)
		}
		return err
	})
	return err
}

// quarantineUnopenable sets blocks aside that cannot be opened, and returns how many.
// One such block keeps a TSDB from opening at all.
func (t *tenant) quarantineUnopenable() (int, error) {
	return t.quarantineBlocks(func(_ ulid.ULID, dir string) error {
		block, err := openBlock(dir)
		if err != nil {
			return err
		}
		return block.Close()
	})
}

// openBlock is tsdb.OpenBlock for a block that may hold anything: on damage that its
// sums do not cover the TSDB panics.
func openBlock(dir string) (block *tsdb.Block, err error) {
	defer recoverDamage(&err)
	return tsdb.OpenBlock(nil, dir, nil, nil)
}

// recoverDamage makes an error of a panic over damaged bytes.
func recoverDamage(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	}
}

// quarantineBlocks sets the blocks aside that a check finds bad.
func (t *tenant) quarantineBlocks(check func(id ulid.ULID, dir string) error) (moved int, err error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return 0, fmt.Errorf("list blocks: %w", err)
	}
	for _, entry := range entries {
		id, err := ulid.ParseStrict(entry.Name())
		if err != nil || !entry.IsDir() {
			continue
		}
		dir := filepath.Join(t.dir, entry.Name())
		bad := check(id, dir)
		if bad == nil {
			continue
		}
		if isEnvironment(bad) {
			return moved, fmt.Errorf("look at block %s: %w", id, bad)
		}
		if err := t.blockLost(id, dir, bad); err != nil {
			return moved, err
		}
		if _, err := t.setAside(kindBlock, dir, entry.Name()); err != nil {
			return moved, fmt.Errorf("quarantine block %s: %w", id, err)
		}
		moved++
	}
	return moved, nil
}

// blockLost makes it durable that what a block covers is lost.
func (t *tenant) blockLost(id ulid.ULID, dir string, cause error) error {
	from, to := t.blockRange(id, dir)
	_, err := t.store.AddLoss(Loss{
		Tenant: t.name, MinTime: from, MaxTime: to,
		Reason: fmt.Sprintf("block %s of %d bytes cannot be read, kept in %s: %v", id, dirBytes(dir), filepath.Join(t.dir, quarantineDir), cause),
	})
	if err == nil {
		// What it covered is not local any more.
		err = t.horizon.raise(to)
	}
	if err != nil {
		return fmt.Errorf("quarantine block %s: %w", id, err)
	}
	return nil
}

// blockRange is the range of a bad block, by the best that can be read of it: its
// sum, its index, its meta, and its name, which tells when it was made.
func (t *tenant) blockRange(id ulid.ULID, dir string) (from, to int64) {
	if sum, known := readBlockSum(dir); known {
		return sum.MinTime, sum.MaxTime
	}
	if from, to, err := indexRange(dir); err == nil {
		return from, to
	}
	if meta, err := readBlockMeta(dir); err == nil && meta.ULID == id && meta.MinTime < meta.MaxTime {
		return meta.MinTime, meta.MaxTime
	}
	made := ulid.Time(id.Time())
	return t.store.retained(made), futureEdge(made)
}

// indexRange reads from the index of a block from when to when its chunks are.
func indexRange(dir string) (from, to int64, err error) {
	defer recoverDamage(&err)
	r, err := index.NewFileReader(filepath.Join(dir, "index"), index.DecodePostingsRaw)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	name, value := index.AllPostingsKey()
	postings, err := r.Postings(context.Background(), name, value)
	if err != nil {
		return 0, 0, err
	}
	from, to = math.MaxInt64, math.MinInt64
	var (
		builder labels.ScratchBuilder
		metas   []chunks.Meta
	)
	for postings.Next() {
		if err := r.Series(postings.At(), &builder, &metas); err != nil {
			return 0, 0, err
		}
		for _, m := range metas {
			from, to = min(from, m.MinTime), max(to, m.MaxTime+1)
		}
	}
	if err := postings.Err(); err != nil {
		return 0, 0, err
	}
	if from >= to {
		return 0, 0, errors.New("the index has no chunks")
	}
	return from, to, nil
}
