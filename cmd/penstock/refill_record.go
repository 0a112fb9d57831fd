// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const dataRecordVersion = 1

// dataRecord is what a data directory remembers of its own completeness, in a file beside the TSDBs,
// so that it goes when they do (docs/format/refill.md).
type dataRecord struct {
	Version int `json:"version"`
	// Refilled is the latest former generation of this member whose data was given back.
	Refilled uint64 `json:"refilled,omitempty"`
	// Replacing is the former generation for which a loss was added that may not be made good.
	Replacing uint64 `json:"replacing,omitempty"`
	// Alive is when this member last ran, to the minute.
	Alive time.Time `json:"alive"`
}

// loadDataRecord returns found=false where there is none yet. One that cannot be read is like none,
// which only makes this member be refilled once more.
func loadDataRecord(path string) (r dataRecord, found bool, damaged error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return dataRecord{}, false, fmt.Errorf("decode %s: %w", path, err)
	}
	if r.Version != dataRecordVersion {
		return dataRecord{}, false, fmt.Errorf("%s has version %d, this build reads %d", path, r.Version, dataRecordVersion)
	}
	return r, true, nil
}

func (r dataRecord) save(path string) error {
	r.Version = dataRecordVersion
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode data record: %w", err)
	}
	if err := replaceFile(path, raw); err != nil {
		return fmt.Errorf("write data record: %w", err)
	}
	return nil
}

// replaceFile writes path whole or not at all, and durably.
func replaceFile(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
