// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/blockdir"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

const (
	hour = int64(3600_000)
	t0   = 1000 * 2 * hour
)

var now = time.UnixMilli(t0 + 1000*hour).UTC()

// blockSpec says what a test block is like; see writeBlock.
type blockSpec struct {
	from, until int64 // Hours after t0; the default is 0 to 2.
	series      int   // The default is 4.
	sources     []ulid.ULID
	level       int
	labels      map[string]string // The default is that of tenant t.
	resolution  int64
	encoding    chunkenc.Encoding
}

// writeBlock makes a block of series m{i="0"}, m{i="1"}..., with a sample each minute.
func writeBlock(t *testing.T, parent string, s blockSpec) (string, tsdb.BlockMeta) {
	t.Helper()
	if s.until == 0 {
		s.until = s.from + 2
	}
	if s.series == 0 {
		s.series = 4
	}
	meta := tsdb.BlockMeta{ULID: ulid.Make(), MinTime: t0 + s.from*hour, MaxTime: t0 + s.until*hour}
	meta.Compaction = tsdb.BlockMetaCompaction{Level: max(1, s.level), Sources: s.sources}
	if len(s.sources) == 0 {
		meta.Compaction.Sources = []ulid.ULID{meta.ULID}
	}
	symbols := []string{"__name__", "i", "m"}
	for i := range s.series {
		symbols = append(symbols, fmt.Sprint(i))
	}
	slices.Sort(symbols)
	w, err := blockdir.NewWriter(t.Context(), filepath.Join(parent, meta.ULID.String()), symbols)
	require.NoError(t, err)
	for i := range s.series {
		var chunk chunkenc.Chunk = chunkenc.NewXORChunk()
		if s.encoding == chunkenc.EncXOR2 {
			chunk = chunkenc.NewXOR2Chunk()
		}
		app, err := chunk.Appender()
		require.NoError(t, err)
		c := chunks.Meta{Chunk: chunk, MinTime: meta.MinTime}
		for ts := meta.MinTime; ts < meta.MaxTime; ts += 60_000 {
			app.Append(0, ts, float64(i))
			c.MaxTime = ts
		}
		require.NoError(t, w.Add(labels.FromStrings("__name__", "m", "i", fmt.Sprint(i)), []chunks.Meta{c}))
	}
	meta, err = w.Commit(meta)
	require.NoError(t, err)
	return filepath.Join(parent, meta.ULID.String()), meta
}

// rig is a bucket of blocks that tests look into and damage.
type rig struct {
	*testing.T
	mem    *bucket.Memory
	blocks *bucket.Blocks
}

func newRig(t *testing.T) *rig {
	mem := bucket.NewMemory()
	return &rig{t, mem, bucket.NewBlocks(mem, func() time.Time { return now })}
}

// put adds a block.
func (r *rig) put(s blockSpec) ulid.ULID {
	r.Helper()
	dir, meta := writeBlock(r.T, r.TempDir(), s)
	if s.labels == nil {
		s.labels = map[string]string{"tenant_id": "t"}
	}
	section := bucket.Thanos{Labels: s.labels, Source: "test", Downsample: bucket.Downsample{Resolution: s.resolution}}
	require.NoError(r, r.blocks.PutBlockAs(r.Context(), dir, section))
	return meta.ULID
}

func (r *rig) get(key string) []byte {
	r.Helper()
	body, err := r.mem.Get(r.Context(), key)
	require.NoError(r, err)
	content, err := io.ReadAll(body)
	require.NoError(r, err)
	return content
}

func (r *rig) set(key string, content []byte) {
	r.Helper()
	require.NoError(r, r.mem.Put(r.Context(), key, bytes.NewReader(content), int64(len(content))))
}

// edit changes the meta.json of a block.
func (r *rig) edit(id ulid.ULID, change func(*bucket.Meta)) {
	r.Helper()
	var meta bucket.Meta
	require.NoError(r, json.Unmarshal(r.get(id.String()+"/meta.json"), &meta))
	change(&meta)
	content, err := meta.Encode()
	require.NoError(r, err)
	r.set(id.String()+"/meta.json", content)
}

func (r *rig) listing() bucket.Listing {
	r.Helper()
	l, err := r.blocks.Metas(r.Context())
	require.NoError(r, err)
	return l
}

// ids returns the visible blocks.
func (r *rig) ids() []ulid.ULID {
	var out []ulid.ULID
	for _, b := range r.listing().Blocks {
		out = append(out, b.Meta.ULID)
	}
	return out
}

func rules() buckettool.CleanupRules {
	return buckettool.CleanupRules{Now: now, DeletionDelay: 48 * time.Hour, PartialAge: 48 * time.Hour}
}

// emptyDir fails when something is left in a scratch directory.
func emptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
