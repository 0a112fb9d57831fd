// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// concatenate is the storage.VerticalChunkSeriesMergeFunc for blocks that do not overlap: the chunks in order of time.
func concatenate(series ...storage.ChunkSeries) storage.ChunkSeries {
	return &storage.ChunkSeriesEntry{
		Lset: series[0].Labels(),
		ChunkIteratorFn: func(chunks.Iterator) chunks.Iterator {
			var all []chunks.Meta
			for _, s := range series {
				it := s.Iterator(nil)
				for it.Next() {
					all = append(all, it.At())
				}
				if err := it.Err(); err != nil {
					return failedChunks{err}
				}
			}
			slices.SortFunc(all, func(a, b chunks.Meta) int { return cmp.Compare(a.MinTime, b.MinTime) })
			for i := range all[1:] {
				if all[i+1].MinTime <= all[i].MaxTime {
					return failedChunks{fmt.Errorf("chunks of aggregates of %s overlap at %d", series[0].Labels(), all[i+1].MinTime)}
				}
			}
			return storage.NewListChunkSeriesIterator(all...)
		},
	}
}

// failedChunks is a chunks.Iterator that has nothing but an error.
type failedChunks struct{ err error }

func (failedChunks) Next() bool      { return false }
func (failedChunks) At() chunks.Meta { return chunks.Meta{} }
func (f failedChunks) Err() error    { return f.err }
