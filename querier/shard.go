// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// A reader of very many series asks for a part of them at a time: SelectHints.ShardIndex
// of ShardCount, by the stable hash of the labels, so that all holders divide alike.
// It is done here on the way out, and not by the TSDB, which would keep a hash of each series of its
// head for it. The labels of the others are read in vain, their chunks are not.

// shardCountMax bounds what a peer may ask for: far more parts than are of use.
const shardCountMax = 1 << 16

// newShardSet returns the part of a set that hints ask for.
func newShardSet(set storage.ChunkSeriesSet, hints *storage.SelectHints) storage.ChunkSeriesSet {
	if hints.ShardCount < 2 {
		return set
	}
	return &shardSet{ChunkSeriesSet: set, index: hints.ShardIndex, count: hints.ShardCount}
}

type shardSet struct {
	storage.ChunkSeriesSet
	index, count uint64
}

// Next moves to the next series of the part.
func (s *shardSet) Next() bool {
	for s.ChunkSeriesSet.Next() {
		if labels.StableHash(s.At().Labels())%s.count == s.index {
			return true
		}
	}
	return false
}

// shardForm adds the part to a question to a peer.
func shardForm(form url.Values, hints *storage.SelectHints) {
	if hints.ShardCount > 1 {
		form.Set("shard", strconv.FormatUint(hints.ShardIndex, 10))
		form.Set("shards", strconv.FormatUint(hints.ShardCount, 10))
	}
}

// parseShard is the reverse.
func parseShard(form url.Values, hints *storage.SelectHints) error {
	if !form.Has("shards") {
		return nil
	}
	index, err := strconv.ParseUint(form.Get("shard"), 10, 64)
	count, errCount := strconv.ParseUint(form.Get("shards"), 10, 64)
	if err != nil || errCount != nil || count == 0 || count > shardCountMax || index >= count {
		return errors.New("shard is not one of shards")
	}
	hints.ShardIndex, hints.ShardCount = index, count
	return nil
}
