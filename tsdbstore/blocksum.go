// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
)

const (
	blockSumFile    = "penstock.sum"
	blockSumVersion = 1
)

// blockSum is the content of a file in a block (docs/format/layout.md). The TSDB has sums
// for everything in a block but for meta.json, which tells when the block begins and ends and
// whether the head begins behind it: one wrong digit hides samples of the block, or of the
// write-ahead log.
type blockSum struct {
	Version int    `json:"version"`
	Meta    uint32 `json:"meta_crc32c"`
	MinTime int64  `json:"min_time_ms"`
	MaxTime int64  `json:"max_time_ms"`
	// Sizes are those of the index and of the files of chunks.
	Sizes map[string]int64 `json:"sizes"`
}

// sumBlock writes the file, of a block that is known to be good. It is not synced: what a
// crash leaves of it has no right sum of its own, and is as none.
func (t *tenant) sumBlock(id ulid.ULID) {
	dir := filepath.Join(t.dir, id.String())
	if _, known := readBlockSum(dir); known {
		return
	}
	if err := writeBlockSum(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // Deleted meanwhile.
		t.logger.Warn("cannot write the sum of a block", "block", id, "err", err)
	}
}

func writeBlockSum(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return err
	}
	meta, err := readBlockMeta(dir)
	if err != nil {
		return err
	}
	sum := blockSum{Version: blockSumVersion, Meta: crc32.Checksum(raw, castagnoli), MinTime: meta.MinTime, MaxTime: meta.MaxTime}
	if sum.Sizes, err = blockFiles(dir); err != nil {
		return err
	}
	content, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	content = fmt.Appendf(content, "\n%08x\n", crc32.Checksum(content, castagnoli))
	path := filepath.Join(dir, blockSumFile)
	if err := os.WriteFile(path+".tmp", content, 0o666); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// readBlockSum reads the file; known is false without one, or if it is damaged.
func readBlockSum(dir string) (sum blockSum, known bool) {
	raw, err := os.ReadFile(filepath.Join(dir, blockSumFile))
	if err != nil {
		return sum, false
	}
	content, own, _ := bytes.Cut(raw, []byte("\n"))
	if string(own) != fmt.Sprintf("%08x\n", crc32.Checksum(content, castagnoli)) {
		return sum, false
	}
	err = json.Unmarshal(content, &sum)
	return sum, err == nil && sum.Version == blockSumVersion
}

// blockFiles are the sizes of the files of a block that never change.
func blockFiles(dir string) (map[string]int64, error) {
	sizes := make(map[string]int64)
	paths, err := filepath.Glob(filepath.Join(dir, "chunks", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(paths, filepath.Join(dir, "index")) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return nil, err
		}
		sizes[filepath.ToSlash(rel)] = info.Size()
	}
	return sizes, nil
}

// checkBlockSum tells how a block differs from what it was when it was made; nil too when
// that is not known.
func checkBlockSum(dir string) error {
	sum, known := readBlockSum(dir)
	if !known {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return err
	}
	if crc32.Checksum(raw, castagnoli) != sum.Meta {
		return errors.New("its meta.json is not what it was")
	}
	for name, want := range sum.Sizes {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if info.Size() != want {
			return fmt.Errorf("%s has %d bytes of %d", name, info.Size(), want)
		}
	}
	return nil
}
