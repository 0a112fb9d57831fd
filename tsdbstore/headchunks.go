// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb"
)

// The format of head chunks (tsdb/docs/format/head_chunks.md): a header of 8 bytes, then
// chunks of a series, two times, an encoding, a length, data and a sum. Zeros are room that was
// not used.
const (
	headChunksHeader = 8
	headChunkMeta    = 8 + 2*8 + 1 // Before the length.
	headChunkSum     = 4

	// holeMax is how far behind zeros chunks are looked for. A file that was not closed
	// may end in much room; a bad spot of a disk is not as large.
	holeMax = 1 << 20
)

// examineHeadChunks looks for what the TSDB does not see: zeros among the chunks, which it
// takes for the end of the file, and files that are not as they were when the store was
// closed. Without them the logs are replayed.
func (t *tenant) examineHeadChunks() error {
	dir := filepath.Join(t.dir, "chunks_head")
	bad, err := t.changedSince(dir)
	if err != nil {
		return err
	}
	found, err := segments(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list head chunks: %w", err)
	}
	for _, n := range found {
		hole, err := hasHole(filepath.Join(dir, fmt.Sprintf("%06d", n)))
		if err != nil {
			return fmt.Errorf("look at head chunks: %w", err)
		}
		if hole && bad == nil {
			bad = fmt.Errorf("zeros among the chunks of file %d", n)
		}
	}
	if bad == nil {
		return nil
	}
	if moved, err := t.mmappedUnreadable(bad); moved || err != nil {
		return err
	}
	return t.deleteSnapshots()
}

// changedSince tells how a directory differs from what it was when the store was
// closed; nil if it does not, or if that is not known.
func (t *tenant) changedSince(dir string) (difference, err error) {
	for name, size := range t.closedSizes(dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("file %s is missing", name), nil
		case err != nil:
			return nil, err
		case info.Size() < size:
			return fmt.Errorf("file %s has %d bytes of %d", name, info.Size(), size), nil
		}
	}
	return nil, nil
}

// deleteSnapshots deletes what a start would load in place of the beginning of the logs.
func (t *tenant) deleteSnapshots() error {
	if err := tsdb.DeleteChunkSnapshots(t.dir, math.MaxInt, math.MaxInt); err != nil {
		return fmt.Errorf("delete snapshot: %w", err)
	}
	return nil
}

// hasHole tells whether chunks follow on zeros in a file of head chunks.
func hasHole(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	var head [headChunkMeta + binary.MaxVarintLen32]byte
	for at := int64(headChunksHeader); at+int64(len(head)) <= info.Size(); {
		if _, err := f.ReadAt(head[:], at); err != nil {
			return false, err
		}
		if allZero(head[:headChunkMeta]) {
			return hasData(io.NewSectionReader(f, at, min(holeMax, info.Size()-at)))
		}
		length, n := binary.Uvarint(head[headChunkMeta:])
		if n <= 0 || length > uint64(info.Size()) {
			return false, nil // The TSDB sees this itself.
		}
		at += headChunkMeta + int64(n) + int64(length) + headChunkSum
	}
	return false, nil
}

// hasData tells whether there is anything but zeros.
func hasData(r io.Reader) (bool, error) {
	raw, err := io.ReadAll(r)
	return !allZero(raw), err
}
