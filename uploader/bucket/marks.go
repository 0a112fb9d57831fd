// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

const markVersion = 1

// Marks are the small objects beside a block that change what others may do with it. Each is nil when absent.
type Marks struct {
	Deletion     *DeletionMark
	NoCompact    *NoCompactMark
	NoDownsample *NoDownsampleMark
}

// Mark is one of *DeletionMark, *NoCompactMark and *NoDownsampleMark.
type Mark interface {
	file() string
	block() ulid.ULID
}

// DeletionMark says that a block is to be deleted once the deletion delay has passed. Until then it can be read.
type DeletionMark struct {
	ID           ulid.ULID `json:"id"`
	Version      int       `json:"version"`
	Details      string    `json:"details,omitempty"`
	DeletionTime int64     `json:"deletion_time"` // Unix seconds of the marking.
}

// NoCompactMark keeps a block out of compaction.
type NoCompactMark struct {
	ID            ulid.ULID `json:"id"`
	Version       int       `json:"version"`
	Details       string    `json:"details,omitempty"`
	NoCompactTime int64     `json:"no_compact_time"` // Unix seconds.
	Reason        string    `json:"reason"`          // "manual", "index-size-exceeding", "block-index-out-of-order-chunk"...
}

// NoDownsampleMark keeps a block out of downsampling.
type NoDownsampleMark struct {
	ID               ulid.ULID `json:"id"`
	Version          int       `json:"version"`
	Details          string    `json:"details,omitempty"`
	NoDownsampleTime int64     `json:"no_downsample_time"` // Unix seconds.
	Reason           string    `json:"reason"`
}

func (*DeletionMark) file() string     { return deletionMarkFile }
func (*NoCompactMark) file() string    { return noCompactMarkFile }
func (*NoDownsampleMark) file() string { return noDownsampMarkFile }

func (m *DeletionMark) block() ulid.ULID     { return m.ID }
func (m *NoCompactMark) block() ulid.ULID    { return m.ID }
func (m *NoDownsampleMark) block() ulid.ULID { return m.ID }

// NewDeletionMark returns a mark of the given time.
func NewDeletionMark(id ulid.ULID, now time.Time, details string) *DeletionMark {
	return &DeletionMark{ID: id, Version: markVersion, Details: details, DeletionTime: now.Unix()}
}

// NewNoCompactMark returns a mark of the given time.
func NewNoCompactMark(id ulid.ULID, now time.Time, reason, details string) *NoCompactMark {
	return &NoCompactMark{ID: id, Version: markVersion, Details: details, NoCompactTime: now.Unix(), Reason: reason}
}

// NewNoDownsampleMark returns a mark of the given time.
func NewNoDownsampleMark(id ulid.ULID, now time.Time, reason, details string) *NoDownsampleMark {
	return &NoDownsampleMark{ID: id, Version: markVersion, Details: details, NoDownsampleTime: now.Unix(), Reason: reason}
}

// compactedInto begins the details of a deletion mark on a block that another one has made superfluous; the name of that one follows.
const compactedInto = "compacted into "

// NewSupersededMark returns a deletion mark that says that the block by has everything that went into block id.
func NewSupersededMark(id ulid.ULID, now time.Time, by ulid.ULID) *DeletionMark {
	return NewDeletionMark(id, now, compactedInto+by.String())
}

// Superseded says whether the block was marked because another one had everything that went into it. It must not go, nor be
// left out of answers, when that is no longer so. Other marks are by somebody's will.
func (m *DeletionMark) Superseded() bool { return strings.HasPrefix(m.Details, compactedInto) }

// Mark writes a mark beside its block, and reads it back. An earlier mark of the same kind stays as it is: the delay of a
// deletion runs from the first one. One that cannot be understood, as a broken PUT leaves it, is replaced.
func (b *Blocks) Mark(ctx context.Context, m Mark) error {
	if err := b.mark(ctx, m); err != nil {
		return fmt.Errorf("mark block %s: %w", m.block(), err)
	}
	return nil
}

func (b *Blocks) mark(ctx context.Context, m Mark) error {
	content, err := encodeJSON(m)
	if err != nil {
		return err
	}
	// Not PutIfAbsent: some stores have no conditional writes, and to lose this race costs nothing.
	if there, err := b.hasMark(ctx, m); err != nil || there {
		return err
	}
	k := key(m.block(), m.file())
	if err := b.bucket.Put(ctx, k, bytes.NewReader(content), int64(len(content))); err != nil {
		return err
	}
	there, err := b.hasMark(ctx, m)
	if err == nil && !there {
		err = fmt.Errorf("verify %s: the bucket returns other bytes than were written", k)
	}
	return err
}

// hasMark says whether there is a mark of the same kind that can be understood.
func (b *Blocks) hasMark(ctx context.Context, m Mark) (bool, error) {
	content, err := b.read(ctx, key(m.block(), m.file()))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return (&Marks{}).set(m.file(), content) == nil, nil
}

// set decodes the content of the mark file rel. A mark that cannot be understood is an error and leaves m as it was.
func (m *Marks) set(rel string, content []byte) error {
	decode := func(mark any, version *int) error {
		if err := json.Unmarshal(content, mark); err != nil {
			return fmt.Errorf("bad %s: %w", rel, err)
		}
		if *version != markVersion {
			return fmt.Errorf("bad %s: version %d, want %d", rel, *version, markVersion)
		}
		return nil
	}
	switch rel {
	case deletionMarkFile:
		mark := &DeletionMark{}
		if err := decode(mark, &mark.Version); err != nil {
			return err
		}
		m.Deletion = mark
	case noCompactMarkFile:
		mark := &NoCompactMark{}
		if err := decode(mark, &mark.Version); err != nil {
			return err
		}
		m.NoCompact = mark
	case noDownsampMarkFile:
		mark := &NoDownsampleMark{}
		if err := decode(mark, &mark.Version); err != nil {
			return err
		}
		m.NoDownsample = mark
	}
	return nil
}

func isMark(rel string) bool {
	return rel == deletionMarkFile || rel == noCompactMarkFile || rel == noDownsampMarkFile
}
