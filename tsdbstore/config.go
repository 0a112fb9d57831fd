// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// Defaults of Config, and the reason for each.
const (
	// DefaultBlockDuration is what Prometheus and Thanos use; other tools that
	// read the bucket expect it.
	DefaultBlockDuration = 2 * time.Hour
	// DefaultOutOfOrderWindow lets a retry of a batch that was applied, and a
	// hint that was kept, in. Zero would turn such a retry into a rejection.
	DefaultOutOfOrderWindow = 2 * time.Hour
	// DefaultRetention covers a day of an unreachable bucket, and lets most
	// dashboards be answered without it.
	DefaultRetention = 24 * time.Hour
	// DefaultExemplarBytes is 10,240 exemplars for each tenant.
	DefaultExemplarBytes = 5 << 20
	// DefaultMaxTenants bounds the memory that empty TSDBs cost: about 0.5 MiB,
	// two goroutines and a dozen files each.
	DefaultMaxTenants = 100
	// DefaultMinFreeBytes is four WAL segments: room to finish what was
	// accepted, to rewrite a damaged segment, and to cut a block.
	DefaultMinFreeBytes = 512 << 20

	// shortestBlock is where cutting blocks would cost more than appending.
	shortestBlock = time.Second
	// exemplarBytes is the measured size of one exemplar with a trace id,
	// including its share of the index.
	exemplarBytes = 512
)

// WAL sync modes of Config.WALSync.
const (
	// WALSyncNone leaves syncing to the TSDB, which syncs when a segment ends.
	// An acknowledged sample survives the death of the process, not of the host.
	WALSyncNone = "none"
	// WALSyncCommit syncs both write logs before each acknowledgement;
	// concurrent commits share one sync.
	WALSyncCommit = "commit"
)

// Config is what a Store needs to know. The zero value of a field means its default.
type Config struct {
	// Dir holds one directory for each tenant. Required.
	Dir string
	// BlockDuration is the range of a block. All members of a ring share it.
	BlockDuration time.Duration
	// OutOfOrderWindow is how much older than the newest sample of its TSDB a
	// sample may be. Negative: none.
	OutOfOrderWindow time.Duration
	// Retention is how long a block that is held elsewhere stays. Negative: for ever.
	Retention time.Duration
	// RetentionBytes bounds the bytes of the local blocks of all tenants
	// together; the oldest that are held go first. Zero: no bound.
	RetentionBytes int64
	// ExemplarBytes bounds the exemplars of one tenant. Negative: none are kept.
	ExemplarBytes int64
	// Limits returns the limits as they are now; it is asked for each new tenant and
	// each new series. Nil: DefaultMaxTenants, and no bound on series.
	Limits func(tenant string) Limits
	// AdmitSeries returns an error while no series may be made at all, such as when
	// memory is short. Unless the error says that it is Rejected, a retry may do. Nil:
	// they always may.
	AdmitSeries func() error
	// MinFreeBytes is the low-water mark of the file system: below it writes
	// are refused as unavailable, so that no write log fails. Negative: no mark.
	MinFreeBytes int64
	// WALSync is WALSyncNone or WALSyncCommit.
	WALSync string
	// ZeroAtStart stores a zero at the start timestamp of a sample before the sample,
	// if it has one and the zero is in order: rates see the first increase of a
	// counter then.
	ZeroAtStart bool
	// Member is the name of this node; its hash spreads the cutting of blocks
	// over members. Empty: no jitter.
	Member string
	// Held tells whether a block is safe elsewhere, so that it may be deleted
	// here. Nil: there is no elsewhere, and age alone decides. It is called
	// from several goroutines, and must not call the Store.
	Held func(tenant string, id ulid.ULID) bool
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// BootID names this start of the host, and nothing where that cannot be told. Nil:
	// asks Linux.
	BootID func() (string, error)

	// freeBytes measures the file system of a directory; replaced in tests.
	freeBytes func(dir string) (int64, error)
	// blockSegmentBytes is the constant of that name, less on the small disks of tests.
	blockSegmentBytes int64
}

// withDefaults returns c with its zero fields filled, or says what is wrong and
// what to write instead.
func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("no storage directory given: set --storage.path")
	}
	setDefault(&c.BlockDuration, DefaultBlockDuration)
	setDefault(&c.OutOfOrderWindow, DefaultOutOfOrderWindow)
	setDefault(&c.Retention, DefaultRetention)
	setDefault(&c.ExemplarBytes, int64(DefaultExemplarBytes))
	setDefault(&c.MinFreeBytes, int64(DefaultMinFreeBytes))
	setDefault(&c.WALSync, WALSyncNone)
	setDefault(&c.blockSegmentBytes, int64(blockSegmentBytes))
	c.OutOfOrderWindow = max(c.OutOfOrderWindow, 0)
	if c.Limits == nil {
		c.Limits = func(string) Limits { return Limits{MaxTenants: DefaultMaxTenants} }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BootID == nil {
		c.BootID = SystemBootID
	}
	if c.freeBytes == nil {
		c.freeBytes = freeBytes
	}
	if c.BlockDuration < shortestBlock {
		return c, fmt.Errorf("block duration %s is too short: use %s or more", c.BlockDuration, shortestBlock)
	}
	if c.WALSync != WALSyncNone && c.WALSync != WALSyncCommit {
		return c, fmt.Errorf("unknown WAL sync mode %q: use %q or %q", c.WALSync, WALSyncNone, WALSyncCommit)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
