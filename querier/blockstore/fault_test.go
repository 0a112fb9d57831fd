// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// TestRestart keeps pages, and finds out what a crash of the host or a bad disk did to them.
func TestRestart(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(5)
	s := f.open(nil)
	all := func() {
		t.Helper()
		f.faulty.FailNth(0, 0)
		for i := range ids {
			require.NoError(t, queryBlock(t, s, int64(i)))
		}
		requireBounded(t, s)
	}
	all()
	require.NoError(t, s.Close())
	s = f.open(nil)
	all()
	require.Empty(t, f.reads())
	require.NoError(t, s.Close())

	file := func(i int, name string) string { return filepath.Join(f.dir, ids[i].String(), name) }
	edit := func(name string, change func(content []byte) []byte) {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, change(content), 0o600))
	}
	// An entry is there and its page is not, as after a power cut.
	edit(file(0, pagesName), func(c []byte) []byte { clear(c[:pageBytes]); return c })
	// A page is there and its entry is not: the process was killed in between.
	edit(file(1, manifestName), func(c []byte) []byte {
		_, header, err := decodeHeader(c)
		require.NoError(t, err)
		binary.BigEndian.PutUint64(c[header+extentPages*entryBytes:], 0)
		return c
	})
	// Torn: a file that is too short, and a manifest.
	require.NoError(t, os.Truncate(file(2, pagesName), 100))
	require.NoError(t, os.Truncate(file(3, manifestName), 10))
	// Half an eviction, and a whole block as former versions kept them.
	require.NoError(t, os.Rename(filepath.Join(f.dir, ids[4].String()), filepath.Join(f.dir, ids[4].String()+".7"+tempSuffix)))
	old := filepath.Join(f.dir, ulid.MustNew(1, nil).String())
	require.NoError(t, os.MkdirAll(filepath.Join(old, "chunks"), 0o700))

	s = f.open(nil)
	require.NoDirExists(t, old)
	all()
	var want []string
	for i, rels := range [][]string{{"index"}, {"chunks/000001"}, {"chunks/000001", "index"}, {"chunks/000001", "index"}, {"chunks/000001", "index"}} {
		for _, rel := range rels {
			want = append(want, "get_range "+ids[i].String()+"/"+rel)
		}
	}
	got := f.reads()
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.badPages))
	require.NoError(t, s.Close())

	s = f.open(func(c *Config) { c.MaxBytes = 2 * smallBlock })
	require.LessOrEqual(t, len(f.cached()), 2, "the bound holds from the start")
	requireBounded(t, s)
	require.NoError(t, s.Close())

	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "precious"), 0o700))
	_, err := New(Config{Blocks: f.blocks, Dir: f.dir}, nil, nil)
	require.ErrorContains(t, err, "directory of its own")
}

// TestWrongBytes has one byte of each object changed: the answer is an error that names the block, and right again once the
// bucket is.
func TestWrongBytes(t *testing.T) {
	f := newFixture(t)
	id := f.blocksEach2h(1)[0]
	r := rand.New(rand.NewPCG(1, 2))
	for _, rel := range []string{"index", "chunks/000001"} {
		k := id.String() + "/" + rel
		whole := f.get(k)
		for range 40 {
			broken := slices.Clone(whole)
			at := r.IntN(len(broken))
			broken[at] ^= 1 << r.IntN(8)
			f.put(k, broken)
			name := fmt.Sprintf("byte %d of %s", at, rel)
			f.dir = filepath.Join(t.TempDir(), "cache")
			s := f.open(nil)
			if err := queryBlock(t, s, 0); err != nil { // Not every byte is read.
				require.ErrorContains(t, err, id.String(), name)
				require.ErrorIs(t, err, errDamaged, name)
			}
			f.put(k, whole)
			require.NoError(t, queryBlock(t, s, 0), name)
			require.NoError(t, s.Close())
		}
	}
}

func (f *fixture) get(k string) []byte {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), k)
	require.NoError(f.t, err)
	defer r.Close()
	content, err := readAll(r)
	require.NoError(f.t, err)
	return content
}

// TestLocalFileIsCutShort takes the file away from below the mapping. Reading it is a signal then, and must be an error.
func TestLocalFileIsCutShort(t *testing.T) {
	f := newFixture(t)
	id := f.blocksEach2h(1)[0]
	s := f.open(nil)
	require.NoError(t, queryBlock(t, s, 0))
	require.NoError(t, os.Truncate(filepath.Join(f.dir, id.String(), pagesName), 0))
	err := queryBlock(t, s, 0)
	require.ErrorIs(t, err, errDamaged)
	require.ErrorContains(t, err, id.String())
	require.NoError(t, queryBlock(t, s, 0), "it is made anew")
}

// TestFailNthRequest lets every request of a cold query fail in turn.
func TestFailNthRequest(t *testing.T) {
	f := newFixture(t)
	id, local := f.addLocal(manySeries(rand.New(rand.NewPCG(3, 4)), 800))
	question := uint64(0)
	cold := func(n int) error {
		f.dir = filepath.Join(t.TempDir(), "cache")
		s := f.open(func(c *Config) { c.guesses = &guesses{edge: pageBytes, series: 1, chunk: 1} })
		f.faulty.FailNth(n, buckettest.FailBefore)
		err := compare(t, rand.New(rand.NewPCG(5, question)), s, local)
		f.faulty.FailNth(0, 0)
		require.NoError(t, compare(t, rand.New(rand.NewPCG(5, question)), s, local), "a failure is not remembered")
		require.NoError(t, s.Close())
		return err
	}
	requests := func() int {
		f.dir = filepath.Join(t.TempDir(), "cache")
		s := f.open(func(c *Config) { c.guesses = &guesses{edge: pageBytes, series: 1, chunk: 1} })
		f.faulty.FailNth(0, 0)
		require.NoError(t, compare(t, rand.New(rand.NewPCG(5, question)), s, local))
		require.NoError(t, s.Close())
		return len(f.reads())
	}
	for requests() < 8 {
		question++
	}
	for n := range requests() {
		require.ErrorContains(t, cold(n+1), id.String(), "request %d", n+1)
	}
}

func TestBlockOfAnOldWriter(t *testing.T) {
	for _, edit := range []func(m *bucket.Meta){
		func(m *bucket.Meta) { m.Thanos.Files = nil },
		func(m *bucket.Meta) { m.Thanos.Files[0].SizeBytes = 0 },
	} {
		f := newFixture(t)
		f.add(ours("t1", "m1"), edit, newSeries(0, 90, "__name__", "up"))
		require.NoError(t, queryBlock(t, f.open(nil), 0), "meta.json does not say what the files are")
	}
}

// FuzzManifest reads what may be left of a manifest after a crash of the host.
func FuzzManifest(f *testing.F) {
	l, err := newLayout([]bucket.File{{RelPath: "index", SizeBytes: 3 << 20}, {RelPath: "chunks/000001", SizeBytes: 100}})
	if err != nil {
		f.Fatal(err)
	}
	header := encodeHeader(l)
	f.Add(header)
	f.Add(header[:len(header)-1])
	f.Add(slices.Repeat([]byte{0}, 100))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, length, err := decodeHeader(content)
		if err != nil {
			require.ErrorIs(t, err, errManifest)
			return
		}
		require.Equal(t, content[:length], encodeHeader(got), "one layout has one header")
	})
}
