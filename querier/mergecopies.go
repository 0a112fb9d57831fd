// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import "github.com/prometheus/prometheus/storage"

// MergeChunks makes one series of copies of it, with the rule by which the copies
// of members are merged: for a holder that has several copies itself, such as a
// bucket with the blocks of every member. It is a
// storage.VerticalChunkSeriesMergeFunc. Safe for concurrent use.
func (q *Querier) MergeChunks(copies ...storage.ChunkSeries) storage.ChunkSeries {
	if len(copies) == 1 {
		return copies[0]
	}
	return (*chunkSeries)(q.mergeCopies(copies))
}

func (q *Querier) mergeCopies(copies []storage.ChunkSeries) *series {
	s := &series{copies: copies, env: &mergeEnv{
		trim:      span{mint: minTime, maxt: maxTime},
		conflicts: q.metrics.conflicts,
	}}
	if len(copies) > 0 {
		s.lset = copies[0].Labels()
	}
	return s
}
