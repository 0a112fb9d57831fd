// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestRequestsOfAnHour counts what three members ask of a bucket with nothing to do, to know which blocks there are: when each
// lists it, and when one does for all. Run it with -v for the figures.
func TestRequestsOfAnHour(t *testing.T) {
	for name, blocks := range map[string]int{"a year, compacted": 60, "a month, not compacted": 30 * 12 * 3} {
		f := newFixture(t)
		f.fillWith(blocks)
		reg := prometheus.NewRegistry()
		counted := bucket.Instrument(f.store, reg)
		now := func() time.Time { return f.now }
		hourOf := func(look func()) map[string]int {
			look() // What is read once and then known.
			before := requests(t, reg)
			for range 12 {
				f.now = f.now.Add(5 * time.Minute)
				look()
			}
			after := requests(t, reg)
			for op, n := range before {
				if after[op] -= n; after[op] == 0 {
					delete(after, op)
				}
			}
			return after
		}

		listed := make([]*bucket.Blocks, 3)
		for i := range listed {
			listed[i] = bucket.NewBlocks(counted, now)
		}
		each := hourOf(func() {
			for _, b := range listed {
				_, err := b.Metas(t.Context())
				require.NoError(t, err)
			}
		})

		indexes, compactors := make([]*bucket.Index, 3), make([]*Compactor, 3)
		for i := range compactors {
			blocks := bucket.NewBlocks(counted, now)
			indexes[i] = bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Now: now}, nil)
			compactors[i] = f.compactor(func(c *Config) {
				c.Blocks, c.Index, c.Dir = blocks, indexes[i], filepath.Join(t.TempDir(), "compact")
				c.Owns = func(key string) bool { return i == 0 && key == KeyIndex }
			})
		}
		one := hourOf(func() {
			for i := range compactors {
				require.NoError(t, compactors[i].Once(t.Context()))
				_, err := indexes[i].Listing(t.Context()) // For queries.
				require.NoError(t, err)
			}
		})
		t.Logf("%s, %d blocks: each lists %v, by the index %v", name, blocks, each, one)
		pages := (2*blocks + 999) / 1000
		require.Equal(t, map[string]int{"list pages": 3 * 12 * pages}, each)
		require.Equal(t, map[string]int{"list pages": 12 * ((2*blocks + 1 + 999) / 1000), "put": 12, "get": 24}, one)
	}
}

// fillWith puts blocks into the bucket that have nothing but what a listing looks at.
func (f *fixture) fillWith(n int) {
	f.t.Helper()
	for i := range n {
		b := uploaded(i, "a", int64(2*i), int64(2*i+2), f.now.UnixMilli()/hour+1)
		raw, err := b.Meta.Encode()
		require.NoError(f.t, err)
		for rel, content := range map[string][]byte{"meta.json": raw, "index": []byte("x")} {
			require.NoError(f.t, f.store.Put(f.t.Context(), b.Meta.ULID.String()+"/"+rel, bytes.NewReader(content), int64(len(content))))
		}
	}
}

// requests are those so far, by operation; of listings the pages.
func requests(t *testing.T, reg *prometheus.Registry) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	found := map[string]int{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch family.GetName() {
			case "penstock_bucket_operations_total":
				if op := m.GetLabel()[0].GetValue(); op != "list" {
					found[op] = int(m.GetCounter().GetValue())
				}
			case "penstock_bucket_list_pages_total":
				found["list pages"] = int(m.GetCounter().GetValue())
			}
		}
	}
	return found
}
