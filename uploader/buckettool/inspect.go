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

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/blockdir"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// Inspection is all that there is to know of one block without reading its samples. Its JSON is stable.
type Inspection struct {
	Block     Row                  `json:"block"`
	Sources   []ulid.ULID          `json:"sources"`              // Level 1 blocks that went in.
	CoveredBy *ulid.ULID           `json:"covered_by,omitempty"` // Another block that has all of them.
	Meta      bucket.Meta          `json:"meta"`
	Objects   []InspectedObject    `json:"objects"`
	Index     *blockdir.IndexStats `json:"index,omitempty"`
	Issues    []blockdir.Issue     `json:"issues,omitempty"` // Of the index.
}

// InspectedObject is one object of a block.
type InspectedObject struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256,omitempty"` // As meta.json has it.
}

// Inspect describes a block. With readIndex its index is fetched to scratch and counted. ErrNotFound.
func Inspect(ctx context.Context, blocks *bucket.Blocks, id ulid.ULID, defaultTenant, scratch string, readIndex bool) (Inspection, error) {
	l, err := blocks.Metas(ctx)
	if err != nil {
		return Inspection{}, err
	}
	for _, b := range l.Blocks {
		if b.Meta.ULID != id {
			continue
		}
		in := Inspection{Block: RowOf(b, defaultTenant), Meta: b.Meta, Sources: bucket.SourcesOf(b.Meta)}
		if by, ok := bucket.Covered(l.Blocks)[id]; ok {
			in.CoveredBy = &by
		}
		objects, err := blocks.Objects(ctx, id)
		if err != nil {
			return in, err
		}
		for _, o := range objects {
			in.Objects = append(in.Objects, InspectedObject{Path: o.RelPath, Bytes: o.Bytes, Modified: o.ModTime.UTC(), SHA256: hashOf(b.Meta, o.RelPath)})
		}
		if readIndex {
			err = in.readIndex(ctx, blocks, scratch)
		}
		return in, err
	}
	for _, p := range l.Partial {
		if p.ID == id {
			return Inspection{}, fmt.Errorf("block %s has no meta.json that can be read: `penstock bucket verify --id=%s` says more", id, id)
		}
	}
	return Inspection{}, fmt.Errorf("block %s: %w", id, bucket.ErrNotFound)
}

func hashOf(m bucket.Meta, rel string) string {
	for _, f := range m.Thanos.Files {
		if f.RelPath == rel && f.Hash != nil {
			return f.Hash.Value
		}
	}
	return ""
}

func (in *Inspection) readIndex(ctx context.Context, blocks *bucket.Blocks, scratch string) (err error) {
	dir, err := os.MkdirTemp(scratch, scratchPattern)
	if err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f, err := os.Create(filepath.Join(dir, indexFile))
	if err != nil {
		return fmt.Errorf("make scratch file: %w", err)
	}
	_, err = blocks.FetchFile(ctx, in.Meta.ULID, indexFile, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	report, err := blockdir.Check(ctx, dir, blockdir.Options{Meta: in.Meta.BlockMeta, Resolution: in.Meta.Thanos.Downsample.Resolution, IndexOnly: true})
	in.Index, in.Issues = &report.Index, report.Issues
	return err
}
