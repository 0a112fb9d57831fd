// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import "github.com/prometheus/prometheus/storage"

// Which samples are the newest is known without decoding them: of a TSDB from its head and its blocks, of a peer's answer from its
// chunks. Deduplication asks for it, because it has to know whether anybody is ahead of a replica whose samples have ended. It is said
// of what was acknowledged before the question: a sample that comes while it is answered may be newer.

// boundedSet is a set with no samples after a time.
type boundedSet struct {
	storage.SeriesSet
	newest int64
}

// Newest returns that time.
func (s boundedSet) Newest() int64 { return s.newest }

// Newest waits for the answer and returns a time after which it has no samples; maxTime if that is not known.
func (s *sampleSet) Newest() int64 {
	<-s.done
	if u, ok := s.set.(*unorderedSet); ok {
		return u.newest
	}
	return maxTime
}

// boundedChunks is boundedSet of chunks.
type boundedChunks struct {
	storage.ChunkSeriesSet
	newest int64
}

// newestIn returns a time after which none of the sets has a sample. It is not known of the bucket's.
func newestIn(sets []storage.ChunkSeriesSet) int64 {
	newest := int64(minTime)
	for _, set := range sets {
		switch s := set.(type) {
		case *bufferedSet:
			newest = max(newest, s.newest)
		case boundedChunks:
			newest = max(newest, s.newest)
		default:
			return maxTime
		}
	}
	return newest
}
