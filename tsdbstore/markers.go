// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// A marker in the out-of-order log says that what it has of a series up to there is in a
// head chunk file, and loading the log drops that. Before the TSDB cuts out-of-order
// samples it takes all of them to such a file, which is written through buffers, and the
// next sample of each series gets a marker that names no chunk. After a kill some of
// these chunks are not in the file, and their markers drop the only copy there is.
//
// So the markers without a chunk are taken out before the log is loaded. What they would
// have dropped is then there twice, in the file and in the head, and is read and cut as
// one. A marker that names a chunk is obeyed by the TSDB only if it found the chunk.

// unmarkedDir is where a segment is made, in the directory of the log because that may be
// a file system of its own. It is no name of a segment, and what a killed process left of
// it is removed.
const unmarkedDir = "unmarked"

// dropMarkers takes the markers without a chunk out of the out-of-order log, one segment
// after the other. The rename of a segment commits it.
func (t *tenant) dropMarkers() error {
	dir := filepath.Join(t.dir, wlog.WblDirName)
	scratch := filepath.Join(dir, unmarkedDir)
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("remove scratch of the out-of-order log: %w", err)
	}
	found, err := segments(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list out-of-order log: %w", err)
	}
	for _, n := range found {
		path := segmentPath(dir, n)
		marked, err := hasMarkers(path)
		if err != nil {
			return err
		}
		if !marked {
			continue
		}
		if err := unmarkSegment(path, scratch); err != nil {
			return fmt.Errorf("take markers out of %s: %w", path, err)
		}
	}
	return nil
}

// hasMarkers tells whether a segment has a marker without a chunk in front of what may
// be wrong with it.
func hasMarkers(path string) (bool, error) {
	marked, dec := false, markerDecoder()
	_, err := eachRecord(path, func(rec []byte) error {
		marked = marked || slices.ContainsFunc(markersOf(dec, rec), unfounded)
		return nil
	})
	return marked, err
}

func unfounded(m record.RefMmapMarker) bool { return m.MmapRef == 0 }

// unmarkSegment writes a segment anew. A record that a kill cut short at its end is left
// out, as the TSDB would; a segment that is damaged otherwise stays as it is: the TSDB
// is going to cut it, and the next attempt to open finds it whole.
func unmarkSegment(path, scratch string) error {
	defer os.RemoveAll(scratch) // Nothing of it is needed after the rename.
	// Twice the size: what is compressed again may be a little larger.
	out, err := wlog.NewSize(slog.New(slog.DiscardHandler), nil, scratch, 2*wlog.DefaultSegmentSize, compression.Snappy)
	if err != nil {
		return err
	}
	enc, dec := record.Encoder{}, markerDecoder()
	whole, err := eachRecord(path, func(rec []byte) error {
		markers := markersOf(dec, rec)
		if kept := slices.DeleteFunc(slices.Clone(markers), unfounded); len(kept) < len(markers) {
			if len(kept) == 0 {
				return nil
			}
			rec = enc.MmapMarkers(kept, nil)
		}
		return out.Log(rec)
	})
	// Close syncs.
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if !whole {
		scan, err := scanLog(path)
		if err != nil || scan.damaged && !scan.torn {
			return err
		}
	}
	if err := os.Rename(segmentPath(scratch, 0), path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// eachRecord calls f for the records of a segment, and tells whether all of it could be
// read. The memory of a record is reused.
func eachRecord(path string, f func(rec []byte) error) (whole bool, err error) {
	segment, err := wlog.OpenReadSegment(path)
	if err != nil {
		return false, err
	}
	defer segment.Close()
	r := wlog.NewReader(wlog.NewSegmentBufReader(segment))
	for r.Next() {
		if err := f(r.Record()); err != nil {
			return false, err
		}
	}
	return r.Err() == nil, nil
}

// markersOf decodes a record of markers; another kind has none. One that cannot be
// decoded is left to the TSDB.
func markersOf(dec *record.Decoder, rec []byte) []record.RefMmapMarker {
	if dec.Type(rec) != record.MmapMarkers {
		return nil
	}
	if markers, err := dec.MmapMarkers(rec, nil); err == nil {
		return markers
	}
	return nil
}

func markerDecoder() *record.Decoder {
	dec := record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))
	return &dec
}
