// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/prometheus/prometheus/tsdb/record"
)

// The write log format of Prometheus' TSDB (tsdb/docs/format/wal.md): pages of 32 KiB,
// in them fragments of a type, a length, a sum and data; a record is one fragment or
// several. A page that is not full ends in zeros.
const (
	logPage        = 32 << 10
	fragmentHeader = 7
	fragmentType   = 0x07
	// The bits above tell the compression; only the first is ever written here.
	fragmentSnappy = 0x08
	fragmentZstd   = 0x10
	// recordPrefix is as much of a record as it takes to know of what kind it is.
	recordPrefix = 16

	fragmentNone   = 0
	fragmentFull   = 1
	fragmentFirst  = 2
	fragmentMiddle = 3
	fragmentLast   = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logScan is what is wrong in one segment of a write log.
type logScan struct {
	size int64
	// damaged tells that something cannot be read. The TSDB sees most of it, but not
	// a page of zeros, which it takes for the end of a page.
	damaged bool
	// torn tells that all that is damaged is one record at the end that was not
	// written to its end, as a kill leaves it: nobody was told that it is stored.
	torn bool
	// keep are the fragments of whole records.
	keep []fragment
}

// fragment is a place in a segment.
type fragment struct {
	offset int64
	length int // With its header.
}

// scanLog reads a segment. It needs memory for the list of fragments and one page.
func scanLog(path string) (logScan, error) {
	f, err := os.Open(path)
	if err != nil {
		return logScan{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return logScan{}, err
	}
	s := &logScanner{logScan: logScan{size: info.Size()}, firstBad: -1, end: info.Size()}
	in := bufio.NewReaderSize(f, 32*logPage)
	page := make([]byte, logPage)
	for at := int64(0); at < s.size; {
		n, err := io.ReadFull(in, page)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return logScan{}, fmt.Errorf("read segment %s: %w", path, err)
		}
		s.page(at, page[:n])
		at += int64(n)
	}
	s.finish()
	return s.logScan, nil
}

// logScanner goes through the pages of a segment.
type logScanner struct {
	logScan
	end int64
	// open are the fragments of a record that goes on.
	open []fragment
	// prefix are the first bytes of that record, as they are on the disk.
	prefix      []byte
	compression byte
	dec         record.Decoder
	// firstBad is where the first damage is; -1: none.
	firstBad int64
	// zerosFrom is where the zeros begin that the segment ends in as far as it was read.
	zerosFrom int64
	// cutShort tells that the first damage is what a write cut short looks like, if
	// nothing follows it.
	cutShort bool
}

// bad notes damage at an offset.
func (s *logScanner) bad(at int64, cutShort bool) {
	if len(s.open) > 0 {
		at = min(at, s.open[0].offset)
		s.open = nil
	}
	if s.firstBad < 0 {
		s.firstBad, s.cutShort = at, cutShort
	}
	s.damaged = true
}

// page reads one page, the last one maybe short.
func (s *logScanner) page(at int64, page []byte) {
	if used := len(bytes.TrimRight(page, "\x00")); used > 0 {
		s.zerosFrom = at + int64(used)
	}
	last := at+int64(len(page)) == s.end
	for p := 0; p < len(page); {
		rest := page[p:]
		if rest[0] == fragmentNone {
			// The end of a page. Only the last page is left with room for another
			// fragment; a page of zeros is nothing that was written.
			if !allZero(rest) || (len(rest) >= fragmentHeader && !last) || p == 0 {
				s.bad(at+int64(p), allZero(rest))
			}
			return
		}
		if len(rest) < fragmentHeader {
			s.bad(at+int64(p), last)
			return
		}
		length := fragmentHeader + int(binary.BigEndian.Uint16(rest[1:]))
		if length > len(rest) {
			s.bad(at+int64(p), last && p+length <= logPage)
			return
		}
		// One without data can only be the first of a record that begins at the very end of
		// a page; zeros behind one byte of a header look like others.
		empty := length == fragmentHeader && rest[0]&fragmentType != fragmentFirst
		if empty || crc32.Checksum(rest[fragmentHeader:length], castagnoli) != binary.BigEndian.Uint32(rest[3:]) {
			// Zeros to the end of the file from within the fragment: a page that was
			// cut short and filled up by a later open.
			s.bad(at+int64(p), s.zerosFrom < at+int64(p+length))
			return
		}
		s.fragment(rest[:length], at+int64(p))
		p += length
	}
}

// fragment takes one whose sum is right. The sum does not cover the header.
func (s *logScanner) fragment(raw []byte, at int64) {
	kind, compression := raw[0]&fragmentType, raw[0]&(fragmentSnappy|fragmentZstd)
	begins := kind == fragmentFull || kind == fragmentFirst
	if kind > fragmentLast || begins == (len(s.open) > 0) || !begins && compression != s.compression {
		s.bad(at, false)
		if !begins {
			return // Its beginning is gone.
		}
	}
	if begins {
		s.prefix, s.compression = s.prefix[:0], compression
	}
	data := raw[fragmentHeader:]
	s.prefix = append(s.prefix, data[:min(len(data), recordPrefix-len(s.prefix))]...)
	s.open = append(s.open, fragment{offset: at, length: len(raw)})
	if kind != fragmentFull && kind != fragmentLast {
		return
	}
	if !s.known() {
		s.bad(at, false)
		return
	}
	s.keep = append(s.keep, s.open...)
	s.open = nil
}

// known tells whether the record is of a kind that there is. The TSDB passes over others
// without a word, so one that is said not to be compressed and is would be lost.
func (s *logScanner) known() bool {
	first := s.prefix
	switch s.compression {
	case 0:
	case fragmentSnappy:
		first = snappyStart(s.prefix)
	default:
		return false
	}
	return s.dec.Type(first) != record.Unknown
}

// snappyStart is what a compressed block begins with when it is decompressed: behind the
// length there is a literal, as there is nothing to copy from.
func snappyStart(block []byte) []byte {
	_, n := binary.Uvarint(block)
	if n <= 0 || n >= len(block) || block[n]&3 != 0 {
		return nil
	}
	skip := n + 1
	if code := int(block[n] >> 2); code >= 60 { // The length is in that many bytes.
		skip += code - 59
	}
	return block[min(skip, len(block)):]
}

func (s *logScanner) finish() {
	if len(s.open) > 0 {
		s.bad(s.end, true)
	}
	if !s.damaged {
		return
	}
	follows := len(s.keep) > 0 && s.keep[len(s.keep)-1].offset > s.firstBad
	s.torn = s.cutShort && !follows
}

func allZero(b []byte) bool { return len(bytes.TrimRight(b, "\x00")) == 0 }

// rewriteLog replaces a segment by one of the records that are whole. The old file
// stays what it is for whoever has another name of it. The rename commits.
func rewriteLog(path string, keep []fragment) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + ".mended"
	out, err := os.Create(tmp)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 32*logPage)
	err = copyFragments(w, in, keep)
	err = errors.Join(err, w.Flush(), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// copyFragments writes pages of the fragments, each in the page that it was in.
func copyFragments(w io.Writer, in io.ReaderAt, keep []fragment) error {
	page := make([]byte, 0, logPage)
	for i, f := range keep {
		buf := page[len(page) : len(page)+f.length]
		if _, err := in.ReadAt(buf, f.offset); err != nil {
			return err
		}
		page = page[:len(page)+f.length]
		if i+1 < len(keep) && keep[i+1].offset/logPage == f.offset/logPage {
			continue
		}
		clear(page[len(page):logPage])
		if _, err := w.Write(page[:logPage]); err != nil {
			return err
		}
		page = page[:0]
	}
	return nil
}
