// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFormsOfReferences reads the same references in every form that protobuf allows:
// the series is the same, whichever way of the scanner it takes.
func TestFormsOfReferences(t *testing.T) {
	const packed, single = fieldV2LabelRefs<<3 | wireBytes, fieldV2LabelRefs<<3 | wireVarint
	forms := map[string][]byte{
		"one run":          {packed, 4, 1, 2, 3, 4},
		"two runs":         {packed, 2, 1, 2, packed, 2, 3, 4},
		"split in a label": {packed, 1, 1, packed, 3, 2, 3, 4},
		"empty run":        {packed, 0, packed, 4, 1, 2, 3, 4},
		"one by one":       {single, 1, single, 2, single, 3, single, 4},
		"run and one":      {packed, 3, 1, 2, 3, single, 4},
		"two bytes":        {packed, 5, 1, 0x82, 0, 3, 4},
		"three bytes":      {packed, 6, 1, 0x82, 0x80, 0, 3, 4},
	}
	var body []byte
	for _, symbol := range []string{"", "__name__", "up", "job", "x"} {
		body = appendEntry(body, fieldV2Symbols, []byte(symbol))
	}
	cached := &batchPool{limits: Limits{}.withDefaults(), cache: NewSeriesCache(CacheConfig{}, nil)}
	scan := func(pool *batchPool, refs []byte) *Batch {
		b := pool.get(testTenant)
		series := slices.Concat(refs, []byte{fieldV2Samples<<3 | wireBytes, 2, 2<<3 | wireVarint, 7})
		require.NoError(t, b.scanV2(appendEntry(body[:len(body):len(body)], fieldV2Series, series)))
		require.Len(t, b.series, 1)
		require.EqualValues(t, len(series)+5*writtenOverhead+len("__name__upjobx"), b.expanded)
		return b
	}
	want := scan(cached, forms["one run"]).series[0].hash
	for name, refs := range forms {
		t.Run(name, func(t *testing.T) {
			b := scan(cached, refs)
			require.Equal(t, []uint32{1, 2, 3, 4}, b.refsOf(&b.series[0]))
			require.Equal(t, want, b.series[0].hash)
			b = scan(&batchPool{limits: Limits{}.withDefaults()}, refs)
			require.Equal(t, []uint32{1, 2, 3, 4}, b.refsOf(&b.series[0]))
			require.Zero(t, b.series[0].hash)
		})
	}
}

// TestHashOfReferences tells series apart by the order of their references and by which
// are names. No labels have a hash too, which is no free place of the cache.
func TestHashOfReferences(t *testing.T) {
	pool := &batchPool{limits: Limits{}.withDefaults(), cache: NewSeriesCache(CacheConfig{}, nil)}
	seen := map[labelHash][]uint32{{}: nil}
	for _, refs := range [][]uint32{
		{},
		{1, 2},
		{2, 1},
		{1, 1},
		{2, 2},
		{1, 2, 3, 4},
		{3, 4, 1, 2},
		{1, 4, 3, 2},
		{2, 1, 4, 3},
		{1, 2, 1, 2},
		{1, 2, 1, 2, 1, 2},
		{0, 0},
		{0, 0, 0, 0},
		{0, 0, 1, 2},
		{1, 2, 0, 0},
	} {
		b := pool.get(testTenant)
		for _, symbol := range []string{"", "a", "b", "c", "d"} {
			require.NoError(t, b.addSymbol([]byte(symbol)))
		}
		h, err := b.checkRefs(refs, 0)
		require.NoError(t, err)
		require.NotContains(t, seen, h, "%v", refs)
		seen[h] = refs
	}
}
