// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package uploader

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	shipperFile    = "penstock.shipper.json"
	shipperVersion = 1
	// recordKeep is how long a record outlives its local block. A block that is put back by hand after that is uploaded
	// again, which readers see through.
	recordKeep = 48 * time.Hour

	fileMode = 0o640
)

// shipperContent is the shipper file. It only saves work: without it every block is looked for in the bucket again.
type shipperContent struct {
	Version int             `json:"version"`
	Bucket  string          `json:"bucket"` // Where the blocks are; what another bucket has says nothing about this one.
	Blocks  []shippedRecord `json:"blocks"`
}

type shippedRecord struct {
	ULID       ulid.ULID `json:"ulid"`
	UploadedMS int64     `json:"uploaded"` // Unix time in ms at which the block was verified in the bucket.
}

// shipper is the record of one tenant. Safe for concurrent use.
type shipper struct {
	dir    string
	bucket string

	mu       sync.Mutex
	uploaded map[ulid.ULID]int64 // Unix ms.
}

// loadShipper reads the file in dir. One that cannot be understood is set aside, and one about another bucket than the given
// one is replaced with the next upload: to upload again is harmless.
func loadShipper(dir, bucket string, logger *slog.Logger) (*shipper, error) {
	s := &shipper{dir: dir, bucket: bucket, uploaded: map[ulid.ULID]int64{}}
	name := filepath.Join(dir, shipperFile)
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read shipper file: %w", err)
	}
	var content shipperContent
	err = json.Unmarshal(raw, &content)
	if err == nil && content.Version != shipperVersion {
		err = fmt.Errorf("version %d, want %d", content.Version, shipperVersion)
	}
	if err != nil {
		logger.Warn("cannot read the shipper file; setting it aside and looking for its blocks in the bucket", "file", name, "err", err)
		if err := os.Rename(name, name+".corrupt"); err != nil {
			return nil, fmt.Errorf("set shipper file aside: %w", err)
		}
		return s, nil
	}
	if content.Bucket != bucket {
		logger.Warn("the local blocks were uploaded to another bucket; uploading them to this one as well", "file", name, "bucket", bucket, "other", content.Bucket)
		return s, nil
	}
	for _, r := range content.Blocks {
		s.uploaded[r.ULID] = r.UploadedMS
	}
	return s, nil
}

func (s *shipper) has(id ulid.ULID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.uploaded[id]
	return ok
}

// heldSince says whether the block was recorded at or before t.
func (s *shipper) heldSince(id ulid.ULID, t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms, ok := s.uploaded[id]
	return ok && ms <= t.UnixMilli()
}

// record adds a block; the rename of the file is the commit.
func (s *shipper) record(id ulid.ULID, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploaded[id] = now.UnixMilli()
	if err := s.save(); err != nil {
		delete(s.uploaded, id)
		return fmt.Errorf("write shipper file: %w", err)
	}
	return nil
}

// prune forgets blocks that are no longer local. The next record writes it down.
func (s *shipper) prune(local []ulid.ULID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ms := range s.uploaded {
		if now.Sub(time.UnixMilli(ms)) > recordKeep && !slices.Contains(local, id) {
			delete(s.uploaded, id)
		}
	}
}

func (s *shipper) save() error {
	content := shipperContent{Version: shipperVersion, Bucket: s.bucket, Blocks: []shippedRecord{}}
	for id, ms := range s.uploaded {
		content.Blocks = append(content.Blocks, shippedRecord{ULID: id, UploadedMS: ms})
	}
	slices.SortFunc(content.Blocks, func(a, b shippedRecord) int { return a.ULID.Compare(b.ULID) })
	raw, err := json.MarshalIndent(content, "", "\t")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.dir, shipperFile), append(raw, '\n'))
}

// replaceFile writes a temporary file, makes it durable and renames it over name.
func replaceFile(name string, content []byte) error {
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// finishedBlocks returns the blocks in dir, by age. TSDB writes a block under another name and renames it, so that a
// directory with the name of a ULID is finished; one without a readable meta.json is broken, and TSDB's to deal with.
func finishedBlocks(dir string) ([]ulid.ULID, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for blocks: %w", err)
	}
	var ids []ulid.ULID
	for _, e := range entries {
		id, err := ulid.ParseStrict(e.Name())
		if err != nil || !e.IsDir() || id.String() != e.Name() {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name(), "meta.json"))
		if err != nil {
			continue
		}
		var meta tsdb.BlockMeta
		if json.Unmarshal(raw, &meta) == nil && meta.ULID == id {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ulid.ULID.Compare)
	return ids, nil
}
