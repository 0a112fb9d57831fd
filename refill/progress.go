// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const progressVersion = 1

// progress is what has been done for losses that are not resolved yet, on disk. It
// is replaced by a rename, after the block that it speaks of was added: a crash between
// the two makes that block a second time, which holds nothing new and harms nothing. Not safe
// for concurrent use.
type progress struct {
	path    string
	records []done
}

// progressFile is the content of the file.
type progressFile struct {
	Version int    `json:"version"`
	Done    []done `json:"done"`
}

// loadProgress reads the file. One that cannot be understood is as good as none:
// everything is read once more.
func loadProgress(path string) (p *progress, damaged error) {
	p = &progress{path: path}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	var f progressFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return p, fmt.Errorf("decode %s: %w", path, err)
	}
	if f.Version != progressVersion {
		return p, fmt.Errorf("%s has version %d, this build reads %d", path, f.Version, progressVersion)
	}
	for _, d := range f.Done {
		if d.Parts < 1 || d.Part < 0 || d.Part >= d.Parts {
			return p, fmt.Errorf("%s has part %d of %d", path, d.Part, d.Parts)
		}
	}
	p.records = f.Done
	return p, nil
}

// add makes it durable that a part is done.
func (p *progress) add(d done) error {
	return p.save(append(p.records, d))
}

// prune drops what concerns no loss any more.
func (p *progress) prune(losses []Loss) error {
	kept := keepOnly(p.records, losses)
	if len(kept) == len(p.records) {
		return nil
	}
	return p.save(kept)
}

func (p *progress) save(records []done) error {
	raw, err := json.Marshal(progressFile{Version: progressVersion, Done: records})
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	if err := replaceFile(p.path, raw); err != nil {
		return fmt.Errorf("write progress: %w", err)
	}
	p.records = records
	return nil
}

// replaceFile writes path whole or not at all, and durably.
func replaceFile(path string, content []byte) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, content); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
