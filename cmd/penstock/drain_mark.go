// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// drainedFile marks a data directory whose member left for good.
const drainedFile = "DRAINED"

// drainedJSON is the content of the file, for people.
type drainedJSON struct {
	Version    int       `json:"version"`
	Member     string    `json:"member"`
	Generation uint64    `json:"generation"`
	DrainedAt  time.Time `json:"drainedAt"`
}

// markDrained marks the directory; the mark is durable when it returns.
func markDrained(dir string, id ring.Identity, now time.Time) (err error) {
	raw, err := json.MarshalIndent(drainedJSON{1, id.Name, id.Generation, now.UTC()}, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, drainedFile))
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkNotDrained refuses a directory whose member left: its samples are in the
// bucket and its slots with others, so that it would only give old answers again.
func checkNotDrained(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, drainedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the mark of a drained member: %w", err)
	}
	var mark drainedJSON
	when := "before"
	if err := json.Unmarshal(raw, &mark); err == nil {
		when = mark.DrainedAt.Format(time.RFC3339)
	}
	return fmt.Errorf("--storage.path=%s was drained %s: all of it is in the bucket; delete the directory, or start on an empty one", dir, when)
}
