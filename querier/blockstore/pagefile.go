// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

const (
	dirMode      = 0o750
	fileMode     = 0o640
	pagesName    = "pages"
	manifestName = "manifest"
)

// pageFile is the local, sparse file of one block with its manifest. A page is one of
//
//	absent ── write ──► ready ── punch ──► absent        ready: it was written or checked by this process
//	kept by a former process ── prove ──► ready | absent  (its checksum decides)
//
// The content of a page is written before its entry in the manifest. A crash in between leaves an absent page; one of
// the host may leave an entry without its content, which the checksum tells.
type pageFile struct {
	layout     layout
	headerSize int
	data       *os.File
	manifest   *os.File
	index      []byte // The index, mapped. Only pages that are ready may be read.

	ready bitmap
	kept  bitmap // By a former process, and not looked at yet.

	// holes is locked while pages are taken away, and read-locked by who reads them through the file. Pages of the index are
	// not taken away while the file is open.
	holes sync.RWMutex
}

// openPageFile opens the file of a block in dir, or makes it. A file of another layout is not taken over.
func openPageFile(dir string, l layout) (*pageFile, error) {
	f, err := reopenPageFile(dir)
	if err == nil {
		if slices.Equal(f.layout.objects, l.objects) {
			return f, f.mapIndex()
		}
		err = f.close()
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, errManifest) {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if f, err = createPageFile(dir, l); err != nil {
		return nil, err
	}
	return f, f.mapIndex()
}

func createPageFile(dir string, l layout) (_ *pageFile, err error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	f := &pageFile{layout: l, ready: newBitmap(l.pages), kept: newBitmap(l.pages)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	if f.data, err = os.OpenFile(filepath.Join(dir, pagesName), flags, fileMode); err != nil {
		return nil, err
	}
	if err = f.data.Truncate(int64(l.pages) * pageBytes); err != nil {
		return nil, err
	}
	if f.manifest, err = os.OpenFile(filepath.Join(dir, manifestName), flags, fileMode); err != nil {
		return nil, err
	}
	header := encodeHeader(l)
	f.headerSize = len(header)
	if _, err = f.manifest.WriteAt(header, 0); err != nil {
		return nil, err
	}
	return f, nil
}

// reopenPageFile opens what a former process left, without mapping it.
func reopenPageFile(dir string) (_ *pageFile, err error) {
	f := &pageFile{}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.manifest, err = os.OpenFile(filepath.Join(dir, manifestName), os.O_RDWR, fileMode); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f.manifest)
	if err != nil {
		return nil, err
	}
	if f.layout, f.headerSize, err = decodeHeader(content); err != nil {
		return nil, err
	}
	if f.data, err = os.OpenFile(filepath.Join(dir, pagesName), os.O_RDWR, fileMode); err != nil {
		return nil, err
	}
	info, err := f.data.Stat()
	if err != nil {
		return nil, err
	}
	if want := int64(f.layout.pages) * pageBytes; info.Size() != want {
		return nil, fmt.Errorf("%w: the file of the pages has %d bytes, want %d", errManifest, info.Size(), want)
	}
	f.ready, f.kept = newBitmap(f.layout.pages), newBitmap(f.layout.pages)
	entries := content[f.headerSize:]
	for page := 0; page < f.layout.pages && (page+1)*entryBytes <= len(entries); page++ {
		if binary.BigEndian.Uint64(entries[page*entryBytes:])&^0xffff_ffff == entryTag {
			f.kept.set(page)
		}
	}
	return f, nil
}

func (f *pageFile) mapIndex() error {
	var err error
	if f.index, err = mapFile(f.data, f.layout.index().size); err != nil {
		return errors.Join(fmt.Errorf("map the index: %w", err), f.close())
	}
	return nil
}

// close may be called while nothing else is.
func (f *pageFile) close() error {
	var errs []error
	if f.index != nil {
		errs = append(errs, unmapFile(f.index))
		f.index = nil
	}
	for _, file := range []*os.File{f.data, f.manifest} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// write stores the content of pages that are absent and makes them ready. No two writes of one page may meet.
func (f *pageFile) write(r run, content []byte) error {
	if _, err := f.data.WriteAt(content, int64(r.from)*pageBytes); err != nil {
		return err
	}
	entries := make([]byte, 0, r.len()*entryBytes)
	for page := r.from; page < r.to; page++ {
		n := min(pageBytes, len(content))
		entries = binary.BigEndian.AppendUint64(entries, pageEntry(page, content[:n]))
		content = content[n:]
	}
	if _, err := f.manifest.WriteAt(entries, f.entryAt(r.from)); err != nil {
		return err
	}
	for page := r.from; page < r.to; page++ {
		f.ready.set(page)
	}
	return nil
}

func (f *pageFile) entryAt(page int) int64 { return int64(f.headerSize) + int64(page)*entryBytes }

// prove makes pages of a former process ready, or absent where the checksum says that they are not what was written.
func (f *pageFile) prove(r run) error {
	content := make([]byte, f.layout.at(r.from).bytesOf(r))
	entries := make([]byte, r.len()*entryBytes)
	_, err := f.data.ReadAt(content, int64(r.from)*pageBytes)
	if err == nil {
		_, err = f.manifest.ReadAt(entries, f.entryAt(r.from))
	}
	for page := r.from; page < r.to; page++ {
		n := min(pageBytes, len(content))
		if err == nil && pageEntry(page, content[:n]) == binary.BigEndian.Uint64(entries[(page-r.from)*entryBytes:]) {
			f.ready.set(page)
		}
		f.kept.clear(page)
		content = content[n:]
	}
	return err
}

// readAt fills p from off of an object. It is false when not all of it is ready.
func (f *pageFile) readAt(o object, p []byte, off int64) (bool, error) {
	f.holes.RLock()
	defer f.holes.RUnlock()
	if f.ready.missing(o.pagesOf(off, int64(len(p)))) != (run{}) {
		return false, nil
	}
	_, err := f.data.ReadAt(p, int64(o.first)*pageBytes+off)
	return err == nil, err
}

// punch makes pages absent and gives their space back.
func (f *pageFile) punch(r run) error {
	f.holes.Lock()
	defer f.holes.Unlock()
	for page := r.from; page < r.to; page++ {
		f.ready.clear(page)
		f.kept.clear(page)
	}
	// The entries first: an entry without its page costs a look at a page of zeros, the other order nothing, but it would
	// leave pages that nobody counts.
	_, err := f.manifest.WriteAt(make([]byte, r.len()*entryBytes), f.entryAt(r.from))
	return errors.Join(err, punchHole(f.data, int64(r.from)*pageBytes, int64(r.len())*pageBytes))
}

// pagesByExtent counts the pages that are there. Meant for a file that was just opened.
func (f *pageFile) pagesByExtent() map[int]int {
	counts := map[int]int{}
	for page := range f.layout.pages {
		if f.kept.has(page) || f.ready.has(page) {
			counts[page/extentPages]++
		}
	}
	return counts
}
