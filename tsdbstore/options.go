// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	// stripesMin costs 0.5 MiB a TSDB where Prometheus' own 16,384 cost 4 MiB;
	// most tenants of many are small.
	stripesMin = 1024
	// A node of few tenants can afford large tables from the start: with short
	// stripes an append by reference waits for memory once less. The tenants of a
	// node share a budget of stripesShared among them, up to stripesFresh each.
	stripesFresh  = 16384
	stripesShared = 8 * stripesFresh
	// stripeWALBytes is the WAL that stands for one stripe more: 16 KiB is what some
	// 6 series leave in two hours. A stripe is a map, and with more than 8 entries a
	// map is another kind: a sample of 400,000 series costs 0.69 us with 16,384
	// stripes, and 0.48 with 65,536.
	stripeWALBytes = 16 << 10
	// stripesMax are enough for a million series, and take 30 MiB.
	stripesMax = 131072

	// cutDelayShare spreads the cutting of blocks over a tenth of their range:
	// all members cut the same range, and would all be busy at one moment.
	cutDelayShare = 10

	// blockSegmentBytes is how large a file of chunks in a block is made, and how much
	// room is taken for it before it is written. Prometheus' own 512 MiB would need the
	// whole low-water mark free to cut a block; this is what is left for opens and cuts.
	blockSegmentBytes = DefaultMinFreeBytes / openShare

	// blockReloadMax is how late a block that may be deleted is seen.
	blockReloadMax = time.Minute
	// blockReloadShare keeps reloads well inside a block's range when blocks
	// are short.
	blockReloadShare = 4
)

// tsdbOptions are the options for one tenant's TSDB.
func (t *tenant) tsdbOptions() *tsdb.Options {
	cfg := t.store.cfg
	opts := tsdb.DefaultOptions()
	// One range only: blocks are compacted in the bucket, never here, because
	// every block must leave this node as it was cut.
	opts.MinBlockDuration = cfg.BlockDuration.Milliseconds()
	opts.MaxBlockDuration = opts.MinBlockDuration
	opts.EnableOverlappingCompaction = false
	opts.MaxBlockChunkSegmentSize = cfg.blockSegmentBytes
	opts.CompactionDelay = cutDelay(cfg.Member, t.name, cfg.BlockDuration)
	opts.BlockReloadInterval = ownReloadInterval
	opts.BlocksToDelete = t.blocksToDelete
	opts.WALCompression = compression.Snappy
	opts.OutOfOrderTimeWindow = cfg.OutOfOrderWindow.Milliseconds()
	// No query needs to see a batch whole or not at all, and it costs 64 B a series.
	opts.IsolationDisabled = true
	opts.EnableMemorySnapshotOnShutdown = true
	opts.StripeSize = stripes(t.store.tenantCount(), dirBytes(filepath.Join(t.dir, "wal")))
	// The store's own lock covers every tenant.
	opts.NoLockfile = true
	if cfg.ExemplarBytes > 0 {
		opts.EnableExemplarStorage = true
		opts.MaxExemplars = cfg.ExemplarBytes / exemplarBytes
	}
	opts.EnableSTAsZeroSample = cfg.ZeroAtStart
	// What these two would write no Thanos can read.
	opts.FloatChunkEncoding = chunkenc.EncXOR
	opts.EnableSTStorage = false
	opts.EnableHistogramSTEncoding = false
	return opts
}

// stripes is the size of the TSDB's series table for one of so many tenants, which
// left walBytes behind. A tenant grows into a larger table at its next open; until
// then it has longer stripes, which costs CPU and nothing else.
func stripes(tenants int, walBytes int64) int {
	n := stripesMin
	for n < stripesFresh && 2*n*tenants <= stripesShared {
		n *= 2
	}
	for n < stripesMax && int64(n)*stripeWALBytes < walBytes {
		n *= 2
	}
	return n
}

// cutDelay is this member's place in the spread of block cutting, the same at
// every start. No member name, no delay.
func cutDelay(member, tenant string, blockDuration time.Duration) time.Duration {
	if member == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(member + "/" + tenant)) // Never fails.
	spread := uint64(blockDuration / cutDelayShare)
	return time.Duration(h.Sum64() % max(spread, 1))
}

func reloadInterval(blockDuration time.Duration) time.Duration {
	return min(blockReloadMax, max(blockDuration/blockReloadShare, tsdb.MinBlockReloadInterval))
}

// dirBytes sums the files under dir; what cannot be read counts as nothing.
func dirBytes(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	return total
}
