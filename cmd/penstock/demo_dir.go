// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	demoDirPrefix = "penstock-demo-"

	// A demo locks its directory right after making it. One that is older than
	// this and not locked belongs to a demo that was killed.
	demoDirAbandonedAge = time.Minute
)

// demoDir is the directory that holds everything a demo writes. It is locked
// for as long as the demo lives.
type demoDir struct {
	path string
	lock *os.File
}

// newDemoDir makes a directory below parent, and removes those that demos left
// there when they were killed.
func newDemoDir(parent string) (*demoDir, error) {
	removeAbandoned(parent, time.Now())
	path, err := os.MkdirTemp(parent, demoDirPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a directory for the demo: %w; set TMPDIR to a writable directory", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, fmt.Errorf("lock the directory of the demo: %w", err)
	}
	return &demoDir{path: path, lock: lock}, nil
}

// remove deletes the directory. Nothing may use it any more.
func (d *demoDir) remove() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("remove what the demo wrote: %w", err)
	}
	return d.lock.Close()
}

// removeAbandoned deletes, as well as it can, what killed demos left.
func removeAbandoned(parent string, now time.Time) {
	left, err := filepath.Glob(filepath.Join(parent, demoDirPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < demoDirAbandonedAge {
			continue
		}
		lock, err := lockDir(path)
		if err != nil {
			continue // of a running demo, or of another user
		}
		_ = os.RemoveAll(path)
		_ = lock.Close()
	}
}

// lockDir takes the lock of a directory, or fails at once. The lock goes with
// the process, however that ends; children do not inherit it.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
