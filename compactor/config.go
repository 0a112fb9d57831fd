// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// DefaultInterval is how often the bucket is looked at. The index that is written then must be read before it is
	// bucket.DefaultIndexMaxAge old.
	DefaultInterval = 5 * time.Minute
	// DefaultBlockDuration is the range of the blocks that members upload.
	DefaultBlockDuration = 2 * time.Hour
	// DefaultConsistencyDelay is how long after the newest upload into a window it is merged: members cut and upload a range
	// minutes apart. One that is later costs another merge, and nothing else. It is Thanos' delay.
	DefaultConsistencyDelay = 30 * time.Minute
	// DefaultDeletionDelay is how long a marked block can still be read. Readers stop using it after half of that.
	DefaultDeletionDelay = 48 * time.Hour
	// DefaultPartialDelay is when an upload that makes no progress counts as given up. It is Thanos' delay.
	DefaultPartialDelay = 48 * time.Hour
	// DefaultConcurrency is how many groups are worked on at once. One keeps up with what a node takes in many times over,
	// and leaves the other cores to writes and queries.
	DefaultConcurrency = 1
	// DefaultMaxIndexBytes is what TSDB can write into one index file: 64 GiB.
	DefaultMaxIndexBytes = 64 << 30
	// DefaultMaxInputs bounds the blocks that one merge has open, each with its index and chunk files mapped.
	DefaultMaxInputs = 64
	// DefaultAttempts is how often an upload or download is tried in one run. The next run tries again, without end.
	DefaultAttempts = 3
	// DefaultRetryBackoff is the wait after the first failed attempt; each further one doubles it.
	DefaultRetryBackoff = time.Second

	// scratchPerInput is how many bytes of local disk a byte of input takes at most: its copy, and what is made of it.
	scratchPerInput = 2
)

// levelFactors make the ranges of DefaultBlockDuration Thanos' levels: 2h, 8h, 2d, 14d.
var levelFactors = []int64{1, 4, 24, 168}

// Config is what a Compactor needs. Zero values are defaults, except for Blocks, Index and Dir.
type Config struct {
	Blocks *bucket.Blocks
	Index  *bucket.Index
	Dir    string // Scratch space. Whatever is in it goes at New.
	Member string // Name of this member; written into what it makes.

	// Owns says whether a part of a group, or one of the keys below, is this member's to work on. It may change at any time and
	// be true on several members at once. Nil: everything is.
	Owns func(key string) bool
	// MergeChunks merges copies of one series, without loss and by a rule that does not depend on their order. The default
	// takes either sample where two differ.
	MergeChunks storage.VerticalChunkSeriesMergeFunc
	// Room says whether the local disk has room for so many bytes more. Nil: it has.
	Room func(bytes int64) error
	// Retention returns how long a tenant's blocks are kept. Nil: for ever.
	Retention func(tenant string) Retention
	// Downsampler makes aggregates. Nil: none are made.
	Downsampler Downsampler

	Foreign          bool // Groups with labels that Penstock does not write are worked on as well.
	DefaultTenant    string
	Interval         time.Duration
	BlockDuration    time.Duration
	ConsistencyDelay time.Duration
	DeletionDelay    time.Duration
	PartialDelay     time.Duration
	Concurrency      int
	ScratchBytes     int64 // Bound of Dir. 0: Room is the only bound.
	MaxIndexBytes    int64
	MaxInputs        int
	Attempts         int
	RetryBackoff     time.Duration
	Now              func() time.Time
}

// The keys that Config.Owns is asked for beside those of parts of groups.
const (
	// KeyIndex is the right to write the block index.
	KeyIndex = "block index"
	// keyPartial, with a ULID behind it, is what is left of one block.
	keyPartial = "partial "
)

func (c *Config) setDefaults() {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	orDuration(&c.Interval, DefaultInterval)
	orDuration(&c.BlockDuration, DefaultBlockDuration)
	orDuration(&c.ConsistencyDelay, DefaultConsistencyDelay)
	orDuration(&c.DeletionDelay, DefaultDeletionDelay)
	orDuration(&c.PartialDelay, DefaultPartialDelay)
	orDuration(&c.RetryBackoff, DefaultRetryBackoff)
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.MaxIndexBytes <= 0 {
		c.MaxIndexBytes = DefaultMaxIndexBytes
	}
	if c.MaxInputs <= 0 {
		c.MaxInputs = DefaultMaxInputs
	}
	if c.Attempts <= 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Owns == nil {
		c.Owns = func(string) bool { return true }
	}
	if c.MergeChunks == nil {
		c.MergeChunks = storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge)
	}
	if c.Room == nil {
		c.Room = func(int64) error { return nil }
	}
	if c.Retention == nil {
		c.Retention = func(string) Retention { return Retention{} }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// rules are the rules of planning at this moment.
func (c *Config) rules() Rules {
	base := c.BlockDuration.Milliseconds()
	r := Rules{
		Now:           c.Now().UnixMilli(),
		Consistency:   c.ConsistencyDelay.Milliseconds(),
		Foreign:       c.Foreign,
		MaxIndexBytes: c.MaxIndexBytes,
		MaxInputs:     c.MaxInputs,
		MaxTaskBytes:  c.ScratchBytes / scratchPerInput / int64(c.Concurrency),
	}
	for _, f := range levelFactors {
		r.Ranges = append(r.Ranges, f*base)
	}
	return r
}

// levelName is what metrics and logs call a level: the length of its windows.
func (c *Config) levelName(level int) string {
	if level >= len(levelFactors) {
		return "unaligned"
	}
	return shortDuration(time.Duration(levelFactors[level]) * c.BlockDuration)
}

func (c *Config) ownsPart(g Group) bool { return c.Owns(g.Key) }

func (c *Config) ownsBlock(m bucket.Meta) bool { return c.ownsPart(groupOf(m).in(m, c.longest())) }

// longest is the length of the longest windows, ms.
func (c *Config) longest() int64 {
	return levelFactors[len(levelFactors)-1] * c.BlockDuration.Milliseconds()
}
