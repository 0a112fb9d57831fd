// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"
)

// The index object, see docs/format/index.md.
const (
	indexObjectKey     = "penstock/block-index.json.gz"
	indexObjectVersion = 1
	// indexBytesMax bounds what an index unpacks to: a block of a thousand sources takes 30 KB, and there are thousands of
	// such blocks in very large buckets only.
	indexBytesMax = 512 << 20
)

// errBadIndex says that the index object cannot be understood. What it says is in the bucket as well.
var errBadIndex = errors.New("bad block index")

// indexContent is a listing as the index object has it.
type indexContent struct {
	Version  int            `json:"version"`
	Member   string         `json:"member"`
	Listed   int64          `json:"listed"` // Unix ms of Listing.At, by the clock of the member.
	Blocks   []indexBlock   `json:"blocks"`
	Partial  []indexPartial `json:"partial,omitempty"`
	Problems []string       `json:"problems,omitempty"`
}

type indexBlock struct {
	Meta  Meta  `json:"meta"` // Without parents and checksums.
	Bytes int64 `json:"bytes"`
	indexMarks
}

type indexMarks struct {
	Deletion     *DeletionMark     `json:"deletion,omitempty"`
	NoCompact    *NoCompactMark    `json:"no_compact,omitempty"`
	NoDownsample *NoDownsampleMark `json:"no_downsample,omitempty"`
}

type indexPartial struct {
	ULID         ulid.ULID `json:"ulid"`
	HasMeta      bool      `json:"has_meta,omitempty"`
	Objects      int       `json:"objects"`
	Bytes        int64     `json:"bytes"`
	LastModified int64     `json:"last_modified"` // Unix ms.
	indexMarks
}

// encodeIndex returns the content of the index object. gzip adds a checksum, so that a torn object is noticed.
func encodeIndex(l Listing, member string) ([]byte, error) {
	c := indexContent{Version: indexObjectVersion, Member: member, Listed: l.At.UnixMilli(), Blocks: make([]indexBlock, 0, len(l.Blocks))}
	for _, b := range l.Blocks {
		m := b.Meta
		m.Compaction.Parents = nil
		m.Thanos.Files = make([]File, len(b.Meta.Thanos.Files))
		for i, f := range b.Meta.Thanos.Files {
			m.Thanos.Files[i] = File{RelPath: f.RelPath, SizeBytes: f.SizeBytes}
		}
		c.Blocks = append(c.Blocks, indexBlock{Meta: m, Bytes: b.Bytes, indexMarks: indexMarks(b.Marks)})
	}
	for _, p := range l.Partial {
		c.Partial = append(c.Partial, indexPartial{
			ULID: p.ID, HasMeta: p.HasMeta, Objects: p.Objects, Bytes: p.Bytes, LastModified: p.LastModified.UnixMilli(),
			indexMarks: indexMarks(p.Marks),
		})
	}
	for _, err := range l.Problems {
		c.Problems = append(c.Problems, err.Error())
	}
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if err := errors.Join(json.NewEncoder(zw).Encode(c), zw.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// decodeIndex reads the content of the index object. Errors are errBadIndex.
func decodeIndex(content []byte) (Listing, error) {
	zr, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return Listing{}, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	raw, err := io.ReadAll(io.LimitReader(zr, indexBytesMax+1)) // To the end: there is the checksum.
	if err != nil {
		return Listing{}, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	if len(raw) > indexBytesMax {
		return Listing{}, fmt.Errorf("%w: more than %d bytes", errBadIndex, indexBytesMax)
	}
	var c indexContent
	if err := json.Unmarshal(raw, &c); err != nil {
		return Listing{}, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	if c.Version != indexObjectVersion {
		return Listing{}, fmt.Errorf("%w: version %d, want %d", errBadIndex, c.Version, indexObjectVersion)
	}
	l := Listing{At: time.UnixMilli(c.Listed)}
	for _, b := range c.Blocks {
		l.Blocks = append(l.Blocks, Listed{Meta: b.Meta, Bytes: b.Bytes, Marks: Marks(b.indexMarks)})
	}
	for _, p := range c.Partial {
		l.Partial = append(l.Partial, Partial{
			ID: p.ULID, HasMeta: p.HasMeta, Objects: p.Objects, Bytes: p.Bytes, LastModified: time.UnixMilli(p.LastModified),
			Marks: Marks(p.indexMarks),
		})
	}
	for _, text := range c.Problems {
		l.Problems = append(l.Problems, errors.New(text))
	}
	return l, nil
}
