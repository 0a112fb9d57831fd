// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// ballast is the name of the file that fills a disk.
const ballast = "ballast"

// Disk is a file system in memory, of a bounded size. It needs Isolate, or root.
type Disk struct {
	Dir  string
	size int64
	t    testing.TB
}

// NewDisk mounts an empty disk until the test ends.
func NewDisk(t testing.TB, name string, size int64) *Disk {
	t.Helper()
	d := &Disk{Dir: filepath.Join(Dir(t), name), size: size, t: t}
	if err := d.mount(); err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			t.Errorf("unmount a disk: %v", err)
		}
	})
	return d
}

// Fill takes all space that is left and returns how much that was.
func (d *Disk) Fill() int64 {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.Dir, ballast), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatalf("fill a disk: %v", err)
	}
	defer f.Close()
	var filled int64
	// The last pages go one by one.
	for _, size := range []int{1 << 20, 4 << 10} {
		chunk := make([]byte, size)
		for err = nil; err == nil; {
			var n int
			n, err = f.Write(chunk)
			filled += int64(n)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatalf("fill a disk: %v", err)
		}
	}
	return filled
}

// Free gives the space back.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.Dir, ballast)); err != nil {
		d.t.Fatalf("free a disk: %v", err)
	}
}
