// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the sample segment anew")

// sampleSegment is the checked-in example of docs/format/hint.md.
func sampleSegment() []byte {
	raw := segmentHeader()
	for i, payload := range []string{"first", "second"} {
		h := recordHeader([]byte(payload), time.UnixMilli(1_700_000_000_000+int64(i)))
		raw = append(append(raw, h[:]...), payload...)
	}
	return raw
}

func versionedHeader(version uint16) []byte {
	h := segmentHeader()
	binary.BigEndian.PutUint16(h[8:], version)
	binary.BigEndian.PutUint32(h[12:], crc32.Checksum(h[:12], castagnoli))
	return h
}

func TestSampleSegment(t *testing.T) {
	path := filepath.Join("testdata", "v1.hint")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(path, sampleSegment(), 0o644))
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, sampleSegment(), raw, "the format changed: that needs a new version")
	records, err := readSegment(raw)
	require.NoError(t, err)
	require.Len(t, records, 2)
	require.Equal(t, "second", string(records[1].payload))
	require.Equal(t, int64(1_700_000_000_001), records[1].at.UnixMilli())
}

func TestReaderRefusals(t *testing.T) {
	var corrupt *corruptError
	var version *versionError
	_, err := readSegment([]byte("PSTKHINTxxxxxxxxxxxx"))
	require.ErrorAs(t, err, &corrupt)
	_, err = readSegment(make([]byte, 100))
	require.ErrorIs(t, err, errTorn)
	_, err = readSegment(versionedHeader(2))
	require.ErrorAs(t, err, &version)

	// A length beyond the bound, with a right checksum.
	h := recordHeader([]byte("x"), time.UnixMilli(0))
	binary.BigEndian.PutUint32(h[0:], PayloadBytesMax+1)
	binary.BigEndian.PutUint32(h[16:], crc32.Checksum(h[:16], castagnoli))
	_, err = readSegment(append(segmentHeader(), h[:]...))
	require.ErrorAs(t, err, &corrupt)
	require.ErrorContains(t, err, "impossible length")
}

// FuzzSegmentReader: any bytes are read without a panic, to an end that is one of
// the known ones; and writing what was read gives a segment that reads the same.
func FuzzSegmentReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(segmentHeader())
	f.Add(sampleSegment())
	f.Add(sampleSegment()[:len(sampleSegment())-3])
	f.Add(append(sampleSegment(), make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		records, err := readSegment(raw)
		var corrupt *corruptError
		var version *versionError
		if err != nil && !errors.Is(err, errTorn) && !errors.As(err, &corrupt) && !errors.As(err, &version) {
			t.Fatalf("unknown end: %v", err)
		}
		again := segmentHeader()
		for _, rec := range records {
			h := recordHeader(rec.payload, rec.at)
			again = append(append(again, h[:]...), rec.payload...)
		}
		if len(records) > 0 {
			require.Equal(t, raw[headerBytes:len(again)], again[headerBytes:], "a segment reads as something else than was written")
		}
		reread, err := readSegment(again)
		require.NoError(t, err)
		require.Equal(t, records, reread)
	})
}
