// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"fmt"
	"sync"
	"time"
)

const (
	// diskCheckInterval bounds the calls to the file system. A node that takes
	// in 100 MiB/s uses 50 MiB between two checks, a tenth of the default mark.
	diskCheckInterval = 500 * time.Millisecond
	// openShare is the part of the low-water mark that opening a TSDB needs:
	// replay may rewrite a WAL segment (128 MiB) and write head chunks, and the
	// TSDB panics when it cannot. Refusing writes far earlier than opens keeps
	// a node with a filling disk restartable, and so readable.
	openShare = 4
)

// disk is the low-water mark of the file system under the store. Below it
// writes are refused, because a full disk costs far more than a refused write:
// write logs fail, and head chunks that cannot be written are a panic.
//
// Where free space cannot be measured there is no mark. Safe for concurrent use.
type disk struct {
	dir     string
	min     int64
	measure func(dir string) (int64, error)

	mu      sync.Mutex
	checked time.Time
	free    int64
	known   bool
}

// checkWrite returns ErrDiskLow, with the figures, below the mark.
func (d *disk) checkWrite() error { return d.check(d.min) }

// checkOpen is checkWrite for opening a TSDB, which needs less.
func (d *disk) checkOpen() error { return d.check(d.min / openShare) }

// CheckDisk returns ErrDiskLow, with the figures, while the file system of the store has
// less free space than is kept for what was accepted: others that write to it must not use it up.
func (s *Store) CheckDisk() error { return s.disk.checkOpen() }

// CheckRoom returns ErrDiskLow when so many bytes more would take the file system of the store below the mark at which
// writes are refused. Unlike writes it is asked without a mark, too.
func (s *Store) CheckRoom(bytes int64) error {
	free, known := s.disk.current()
	if want := max(s.disk.min, 0) + bytes; known && free < want {
		return fmt.Errorf("%w: %s has %d MiB free and would need %d MiB", ErrDiskLow, s.disk.dir, free>>20, want>>20)
	}
	return nil
}

func (d *disk) check(want int64) error {
	if d.min <= 0 {
		return nil
	}
	free, known := d.current()
	if !known || free >= want {
		return nil
	}
	return fmt.Errorf("%w: %s has %d MiB free and needs %d MiB: free space or add disk, and writes go on by themselves",
		ErrDiskLow, d.dir, free>>20, want>>20)
}

// current is the free space, at most diskCheckInterval old. It uses the wall
// clock and not the store's, as it is about this machine and not about samples.
func (d *disk) current() (free int64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.checked.IsZero() || time.Since(d.checked) >= diskCheckInterval {
		var err error
		d.free, err = d.measure(d.dir)
		d.known = err == nil
		d.checked = time.Now()
	}
	return d.free, d.known
}
