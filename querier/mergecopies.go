// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
)

// MergeChunks makes one series of copies of it, with the rule by which the copies
// of members are merged: for a holder that has several copies itself, such as a
// bucket with the blocks of every member. It is a
// storage.VerticalChunkSeriesMergeFunc. Safe for concurrent use.
func (q *Querier) MergeChunks(copies ...storage.ChunkSeries) storage.ChunkSeries {
	return mergeChunks(copies, q.metrics.conflicts)
}

// NewChunkMerger returns the same for whoever is no querier, such as compaction. Samples on which copies disagreed are counted
// in conflicts.
func NewChunkMerger(conflicts prometheus.Counter) storage.VerticalChunkSeriesMergeFunc {
	return func(copies ...storage.ChunkSeries) storage.ChunkSeries { return mergeChunks(copies, conflicts) }
}

func mergeChunks(copies []storage.ChunkSeries, conflicts prometheus.Counter) storage.ChunkSeries {
	if len(copies) == 1 {
		return copies[0]
	}
	return (*chunkSeries)(mergeCopies(copies, conflicts))
}

func mergeCopies(copies []storage.ChunkSeries, conflicts prometheus.Counter) *series {
	s := &series{copies: copies, env: &mergeEnv{
		trim:      span{mint: minTime, maxt: maxTime},
		conflicts: conflicts,
	}}
	if len(copies) > 0 {
		s.lset = copies[0].Labels()
	}
	return s
}
