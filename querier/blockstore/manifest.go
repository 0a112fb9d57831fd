// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// The manifest says which pages of the local file are there, and what they must look like. It is described in
// docs/format/pages.md.
const (
	manifestMagic   = "PSPG"
	manifestVersion = 1
	// entryBytes is the size of the entry of one page: a tag that no hole has, and the CRC32C of the page.
	entryBytes = 8
	entryTag   = uint64(0x5061_6765) << 32
	// headerMax bounds what is believed of a manifest: a block of ten thousand segments has less.
	headerMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errManifest = errors.New("not a manifest of pages")

// encodeHeader returns the beginning of a manifest. The entries of the pages follow it.
func encodeHeader(l layout) []byte {
	b := append([]byte(manifestMagic), 0, 0, 0, 0) // Room for the length of the header.
	b = binary.BigEndian.AppendUint32(b, manifestVersion)
	b = binary.BigEndian.AppendUint32(b, pageBytes)
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.objects)))
	for _, o := range l.objects {
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.rel)))
		b = append(b, o.rel...)
		b = binary.BigEndian.AppendUint64(b, uint64(o.size))
	}
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)+4))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHeader is the inverse of encodeHeader; b may be longer. It returns the length of the header.
func decodeHeader(b []byte) (layout, int, error) {
	const fixed = 20
	if len(b) < fixed+4 || string(b[:4]) != manifestMagic {
		return layout{}, 0, errManifest
	}
	length := int(binary.BigEndian.Uint32(b[4:]))
	if length < fixed+4 || length > len(b) || length > headerMax {
		return layout{}, 0, fmt.Errorf("%w: its header has %d bytes", errManifest, length)
	}
	body, sum := b[:length-4], binary.BigEndian.Uint32(b[length-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return layout{}, 0, fmt.Errorf("%w: the checksum of the header is wrong", errManifest)
	}
	if v, p := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]); v != manifestVersion || p != pageBytes {
		return layout{}, 0, fmt.Errorf("%w: version %d with pages of %d bytes", errManifest, v, p)
	}
	n := int(binary.BigEndian.Uint32(b[16:]))
	var files []bucket.File
	for rest := body[fixed:]; n > 0; n-- {
		if len(rest) < 2 {
			return layout{}, 0, errManifest
		}
		name := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+name+8 {
			return layout{}, 0, errManifest
		}
		files = append(files, bucket.File{
			RelPath: string(rest[2 : 2+name]), SizeBytes: int64(binary.BigEndian.Uint64(rest[2+name:])),
		})
		rest = rest[2+name+8:]
	}
	l, err := newLayout(files)
	if err != nil {
		return layout{}, 0, fmt.Errorf("%w: %w", errManifest, err)
	}
	return l, length, nil
}

// pageEntry returns the entry of a page with this content. The number of the page is part of the checksum, so that a page
// in the wrong place is none.
func pageEntry(page int, content []byte) uint64 {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(page))
	sum := crc32.Update(crc32.Checksum(number[:], castagnoli), castagnoli, content)
	return entryTag | uint64(sum)
}
