// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/tsdb"
)

// IncompleteError says that too many members are missing to give an answer in
// which every acknowledged sample is. Asked again later the query may succeed.
//
// It is tsdb.ErrNotReady to errors.Is, which Prometheus' API reports as
// "unavailable".
type IncompleteError struct {
	Missing    []Missing
	Known      int // Members known, the missing ones included.
	RF         int
	CutOff     bool // See Membership, as for Newcomer.
	Newcomer   bool
	Mint, Maxt int64 // What was asked for, milliseconds, both inclusive.
}

// Error names the members, what would be enough and what to do.
func (e *IncompleteError) Error() string {
	return e.describe() + "; retry when they are back, or accept gaps with partial_response=true"
}

// Is makes the error tsdb.ErrNotReady.
func (e *IncompleteError) Is(target error) bool { return target == tsdb.ErrNotReady }

// warning is the same thing as an annotation of an answer that was given nevertheless.
func (e *IncompleteError) warning() error {
	return errors.New("partial response: " + e.describe())
}

func (e *IncompleteError) describe() string {
	if e.CutOff || e.Newcomer && e.Known >= quorum(e.RF) {
		text := fmt.Sprintf("samples %s may be lacking: this member has been cut off from the majority of the %d members that it knows, and they may have gone on without it",
			describeRange(e.Mint, e.Maxt), e.Known)
		if !e.CutOff {
			text = fmt.Sprintf("samples %s may be lacking: this member is new, knows %d members, and cannot tell yet whether there are more",
				describeRange(e.Mint, e.Maxt), e.Known)
		}
		if len(e.Missing) > 0 {
			text += "; missing: " + e.missing()
		}
		return text
	}
	if len(e.Missing) == 0 {
		return fmt.Sprintf("samples %s may be lacking: this member knows %d of at least %d members (replication factor %d)",
			describeRange(e.Mint, e.Maxt), e.Known, quorum(e.RF), e.RF)
	}
	return fmt.Sprintf("samples %s may be lacking: %d of %d members are missing: %s (replication factor %d allows %d)",
		describeRange(e.Mint, e.Maxt), len(e.Missing), e.Known, e.missing(), e.RF, e.RF-quorum(e.RF))
}

// missing names the missing members, and why they are.
func (e *IncompleteError) missing() string {
	names := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		names[i] = m.Name + " (" + m.Reason + ")"
	}
	return strings.Join(names, ", ")
}

// bucketError is an answer that lacks the blocks of the bucket.
type bucketError struct {
	err        error
	mint, maxt int64
}

func (e *bucketError) Error() string {
	return fmt.Sprintf("samples %s may be lacking: read blocks from the bucket: %v", describeRange(e.mint, e.maxt), e.err)
}

func (e *bucketError) Unwrap() error { return e.err }

// Is makes the error tsdb.ErrNotReady: the members are well, the bucket is not, and a retry may help.
func (*bucketError) Is(target error) bool { return target == tsdb.ErrNotReady }

func (e *bucketError) warning() error { return errors.New("partial response: " + e.Error()) }

// tooLargeError is an answer of a peer beyond Config.MaxPeerBytes. It ends the query: counting
// the peer as missing instead would turn a query that is too big into one that is wrong.
type tooLargeError struct {
	member string
	limit  int64
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("the answer of member %s exceeds %d bytes, the most that a query may read from one member; ask for fewer series or a shorter range", e.member, e.limit)
}

// isTooLarge says that somebody asked for more than a limit allows, here or where blocks are read.
func isTooLarge(err error) bool {
	var e interface{ TooLarge() bool }
	return errors.As(err, &e) && e.TooLarge()
}

// TooLarge tells a caller that could ask for less at a time.
func (*tooLargeError) TooLarge() bool { return true }

// describeRange puts a time range into words. Clients that give no bounds get the
// API's extremes, whose years mean nothing to a reader.
func describeRange(mint, maxt int64) string {
	const year1, year9999 = -62135596800000, 253402300799999
	from, to := "the beginning", "now"
	if mint > year1 {
		from = time.UnixMilli(mint).UTC().Format(time.RFC3339)
	}
	if maxt < year9999 {
		to = time.UnixMilli(maxt).UTC().Format(time.RFC3339)
	}
	return "from " + from + " to " + to
}
