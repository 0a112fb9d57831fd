// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/stretchr/testify/require"
)

// writeSegment writes records of many sizes, compressed and not, over several pages.
func writeSegment(t *testing.T) (path string, records [][]byte) {
	t.Helper()
	dir := t.TempDir()
	w, err := wlog.NewSize(nil, nil, dir, 8*logPage, compression.Snappy)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(3, 4))
	var enc record.Encoder
	for i := range 60 {
		var rec []byte
		if i%2 == 0 {
			rec = enc.Series([]record.RefSeries{{Ref: 1, Labels: labels.FromStrings("name", strings.Repeat("compresses", 1+rnd.IntN(50)))}}, nil)
		} else {
			samples := make([]record.RefSample, 1+rnd.IntN(60))
			if i%20 == 19 {
				samples = make([]record.RefSample, 4000) // Of more than a page.
			}
			for n := range samples {
				samples[n] = record.RefSample{Ref: 1, T: rnd.Int64(), V: rnd.Float64()}
			}
			rec = enc.Samples(samples, nil)
		}
		records = append(records, rec)
		require.NoError(t, w.Log(rec))
	}
	require.NoError(t, w.Close())
	return segmentPath(dir, 0), records
}

func readRecords(t *testing.T, path string) (records [][]byte, err error) {
	t.Helper()
	seg, err := wlog.OpenReadSegment(path)
	require.NoError(t, err)
	defer seg.Close()
	r := wlog.NewReader(wlog.NewSegmentBufReader(seg))
	for r.Next() {
		records = append(records, bytes.Clone(r.Record()))
	}
	return records, r.Err()
}

func TestScanOfAWholeLog(t *testing.T) {
	path, records := writeSegment(t)
	scan, err := scanLog(path)
	require.NoError(t, err)
	require.False(t, scan.damaged)
	require.NoError(t, rewriteLog(path, scan.keep))
	got, err := readRecords(t, path)
	require.NoError(t, err)
	require.Equal(t, records, got, "nothing is lost by writing it again")
}

// TestScanSeesEveryChange: whatever is changed, either the TSDB reads the same records
// as before or the scan finds damage; and what it keeps are records that were there.
func TestScanSeesEveryChange(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path, records := writeSegment(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	scan, err := scanLog(path)
	require.NoError(t, err)

	changes := map[string]func(raw []byte) []byte{
		"bit": func(raw []byte) []byte {
			raw[rnd.IntN(used(raw))] ^= 1 << rnd.IntN(8)
			return raw
		},
		"bit of a header": func(raw []byte) []byte {
			raw[scan.keep[rnd.IntN(len(scan.keep))].offset+rnd.Int64N(fragmentHeader)] ^= 1 << rnd.IntN(8)
			return raw
		},
		"page of zeros": func(raw []byte) []byte {
			page := rnd.IntN(len(raw)/logPage) * logPage
			clear(raw[page : page+logPage])
			return raw
		},
		"sector of zeros": func(raw []byte) []byte {
			at := rnd.IntN(used(raw)/4096) * 4096
			clear(raw[at : at+4096])
			return raw
		},
		"sector of another place": func(raw []byte) []byte {
			at, from := rnd.IntN(used(raw)/4096)*4096, rnd.IntN(used(raw)/4096)*4096
			if at%logPage == 0 && from%logPage == 0 {
				// Each page may begin with the end of a record, which has a checksum of its own: the beginning of one record with the end of
				// another is, in this format, a record.
				from = at
			}
			copy(raw[at:at+4096], whole[from:])
			return raw
		},
		"cut short": func(raw []byte) []byte { return raw[:rnd.IntN(used(raw))] },
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		for range 40 {
			changed := changes[name](bytes.Clone(whole))
			path := filepath.Join(t.TempDir(), "00000000")
			require.NoError(t, os.WriteFile(path, changed, 0o600))
			scan, err := scanLog(path)
			require.NoError(t, err, name)
			got, readErr := readRecords(t, path)
			if !scan.damaged {
				require.NoError(t, readErr, "%s: the TSDB finds damage", name)
				if name == "cut short" {
					require.Equal(t, records[:len(got)], got) // Between two records: nothing tells.
					continue
				}
				require.Equal(t, records, got, "%s: lost without a word", name)
			}
			require.NoError(t, rewriteLog(path, scan.keep), name)
			got, err = readRecords(t, path)
			require.NoError(t, err, name)
			require.True(t, isSubset(records, got), "%s: made up a record", name)
			if !strings.HasPrefix(name, "page") && !strings.HasPrefix(name, "cut") {
				require.GreaterOrEqual(t, len(got), len(records)/2, name)
			}
		}
	}
}

// isSubset tells whether all of some are among all.
func isSubset(all, some [][]byte) bool {
	return !slices.ContainsFunc(some, func(rec []byte) bool {
		return !slices.ContainsFunc(all, func(x []byte) bool { return bytes.Equal(x, rec) })
	})
}

// TestTornEnd: a kill leaves the beginning of what was being written, and a later open fills
// the page up with zeros.
func TestTornEnd(t *testing.T) {
	path, records := writeSegment(t)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	end := used(whole)
	scan, err := scanLog(path)
	require.NoError(t, err)
	last := scan.keep[len(scan.keep)-1]
	for _, cut := range []int{int(last.offset) + 1, int(last.offset) + 6, int(last.offset) + last.length/2, end - 10} {
		for _, filled := range []bool{false, true} {
			raw := bytes.Clone(whole[:cut])
			if filled {
				raw = append(raw, make([]byte, logPage-cut%logPage)...)
			}
			require.NoError(t, os.WriteFile(path, raw, 0o600))
			scan, err := scanLog(path)
			require.NoError(t, err)
			require.True(t, scan.damaged && scan.torn, "cut at %d of %d, filled: %v", cut, end, filled)
			require.NoError(t, rewriteLog(path, scan.keep))
			got, err := readRecords(t, path)
			require.NoError(t, err)
			require.Equal(t, records[:len(records)-1], got)
		}
	}
	// Damage with more behind it is not an end.
	raw := bytes.Clone(whole)
	clear(raw[logPage : 2*logPage])
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	scan, err = scanLog(path)
	require.NoError(t, err)
	require.True(t, scan.damaged && !scan.torn)
}
