// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

const (
	// DefaultMaxSeriesPerPass bounds what a pass holds in memory of the series it
	// writes: labels and places of chunks, about 1 KiB each, so 100 MiB. A member
	// with a million series makes ten blocks of a range.
	DefaultMaxSeriesPerPass = 100_000
	// DefaultBytesPerSecond refills a GiB in about a minute and takes a quarter of a
	// gigabit link, so that live writes between members have room.
	DefaultBytesPerSecond = 16 << 20
	// DefaultSettle is twice the time after which a write gives up a peer.
	DefaultSettle = 10 * time.Second
	// DefaultHintWait is how long the end of a round waits for old hints: at hundreds
	// of thousands of samples a second, time for what an hour left behind.
	DefaultHintWait = 10 * time.Minute
	// DefaultPoll is how soon a new loss is seen.
	DefaultPoll = time.Second

	// futureMax is further ahead than any member takes a sample, with clocks that differ.
	futureMax = time.Hour

	// addAttempts is how often a good block is offered to a store that is busy with
	// its own repair before the range is read again.
	addAttempts = 3

	// maxParts bounds the passes over one unit: 100 million series at the default size.
	maxParts = 1024

	backoffFirst = time.Second
	backoffLast  = time.Minute
)

// ErrNoCopies says that no other member ever had a copy of anything here.
var ErrNoCopies = errors.New("there are no other copies")

// Loss is data that this member should hold and does not. Times are Unix
// milliseconds, [MinTime, MaxTime).
type Loss struct {
	ID      string    `json:"id"`
	Tenant  string    `json:"tenant"` // Empty: every tenant.
	MinTime int64     `json:"minTime"`
	MaxTime int64     `json:"maxTime"`
	Reason  string    `json:"reason"`
	Found   time.Time `json:"found"`
}

// Store is the local store. It must be safe for concurrent use.
type Store interface {
	// Losses returns what is known to be lost now.
	Losses() []Loss
	// ResolveLoss forgets a loss durably. Resolving an unknown one is no error.
	ResolveLoss(id string) error
	// AddBlock takes a finished block directory, which is gone or may be deleted afterwards.
	AddBlock(ctx context.Context, tenant, dir string) error
	// RefillDir is scratch space on the file system of the store, emptied when the store is opened.
	RefillDir() string
}

// Source is the other members. It must be safe for concurrent use.
type Source interface {
	// Survey asks the other members what a round must know. It is an error if too
	// few of them answer, and ErrNoCopies if there can be none.
	Survey(ctx context.Context) (Survey, error)
	// Read asks the other members for series. An error means that the answer would
	// be short. An error with a method TooLarge that returns true asks for smaller parts.
	Read(ctx context.Context, q Query) (Reading, error)
}

// Survey is what the other members say.
type Survey struct {
	Tenants []string // All that any of them has.
	// NotRouting are those that do not send their writes to this data directory yet.
	NotRouting []string
	// OldestHint is the age of the oldest hint that waits for this member anywhere; 0 without one.
	OldestHint time.Duration
}

// Query is a part of the series of a tenant in [MinTime, MaxTime): those whose
// hash leaves the remainder Part when divided by Parts.
type Query struct {
	Tenant           string
	MinTime, MaxTime int64
	Part, Parts      int
}

// Reading is an answer. The series are sorted, each comes once, and their chunks
// are in order, do not overlap and lie within the range of the query.
type Reading struct {
	Set storage.ChunkSeriesSet
	// Lacking are members that answered but have losses themselves, and without
	// which there were too few to be sure of every sample.
	Lacking []string
	Close   func() error
}

// Config is what a Refiller works with. Zero values mean the defaults.
type Config struct {
	Store  Store
	Source Source
	// Owns returns which series of a tenant this member must hold in [mint, maxt).
	// Nil: all of them.
	Owns func(tenant string, mint, maxt int64) func(labels.Labels) bool
	// Admit returns an error while the node has no room for background work. Nil: there always is.
	Admit func() error
	// File is where progress is kept. Required.
	File string
	// BlockDuration is the range of a block and Retention how far back blocks are kept. Required.
	BlockDuration, Retention time.Duration

	MaxSeriesPerPass int
	BytesPerSecond   int64 // Of chunks written; negative: no bound.
	Settle, HintWait time.Duration
	Poll             time.Duration
	Now              func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Source == nil || c.File == "" {
		return c, errors.New("refill needs a store, a source and a progress file")
	}
	if c.BlockDuration <= 0 || c.Retention <= 0 {
		return c, errors.New("refill needs a block duration and a retention")
	}
	if c.Owns == nil {
		c.Owns = func(string, int64, int64) func(labels.Labels) bool {
			return func(labels.Labels) bool { return true }
		}
	}
	if c.Admit == nil {
		c.Admit = func() error { return nil }
	}
	setDefault(&c.MaxSeriesPerPass, DefaultMaxSeriesPerPass)
	setDefault(&c.BytesPerSecond, DefaultBytesPerSecond)
	setDefault(&c.Settle, DefaultSettle)
	setDefault(&c.HintWait, DefaultHintWait)
	setDefault(&c.Poll, DefaultPoll)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
