// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// everySeries matches all of them.
func everySeries() *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".*")
}

// digestOf reads a block as a query would, through its index and the checksums of its
// chunks, and returns the digest of all that it found.
func digestOf(ctx context.Context, dir string, logger *slog.Logger) (_ Digest, err error) {
	b, err := tsdb.OpenBlock(logger, dir, chunkenc.NewPool(), nil)
	if err != nil {
		return Digest{}, fmt.Errorf("open block: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	q, err := tsdb.NewBlockChunkQuerier(b, math.MinInt64, math.MaxInt64)
	if err != nil {
		return Digest{}, fmt.Errorf("open block: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	var d digester
	set := q.Select(ctx, true, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, DisableTrimming: true}, everySeries())
	var it chunks.Iterator
	for set.Next() {
		s := set.At()
		d.begin(s.Labels())
		it = s.Iterator(it)
		for it.Next() {
			if _, err := d.chunk(it.At().Chunk); err != nil {
				return Digest{}, fmt.Errorf("read block: series %s: %w", s.Labels(), err)
			}
		}
		if err := it.Err(); err != nil {
			return Digest{}, fmt.Errorf("read block: %w", err)
		}
	}
	if err := set.Err(); err != nil {
		return Digest{}, fmt.Errorf("read block: %w", err)
	}
	return d.Digest, nil
}
