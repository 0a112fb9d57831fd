// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import "time"

const (
	// clockTolerance is by how much the clocks of two members, and the way from one to
	// the other, may differ to count as the same. Without it, a time that goes to and fro
	// would grow a little each time.
	clockTolerance = 5 * time.Second
	// stallMax is how long this process may stand still, stopped or starved, before what it
	// believes of others is out of date. Housekeeping runs every second.
	stallMax = 10 * time.Second
)

// Nobody's clock is believed but one's own, and of that only how fast it runs: a member is
// dead since this one noticed it, a clock that is set does not make time pass, and the times
// in the records of another member are carried over to the clock here.

// now is the time of this member's clock when it started, and what passed since then.
func (c *Cluster) now() time.Time { return timestamp(c.started.Add(c.cfg.Now().Sub(c.started))) }

// timestamp returns a time as it survives a round trip through JSON, so that two
// members compare the same values.
func timestamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Translate returns the records of another member with its times as times of the clock here.
// sent is what the clock there said when that here said now; zero, of a member of the first
// versions, leaves them as they are. The records given are not changed.
func Translate(records []Record, sent, now time.Time) []Record {
	ahead := sent.Sub(now)
	if sent.IsZero() || ahead.Abs() <= clockTolerance {
		return records
	}
	out := make([]Record, len(records))
	for i, r := range records {
		r.LastSeen = r.LastSeen.Add(-ahead)
		if r.forgotten() {
			r.ForgottenAt = r.ForgottenAt.Add(-ahead)
		}
		out[i] = r
	}
	return out
}

// clampTo returns the record with no time after now. Nobody may write news that nobody
// else can overrule.
func (r Record) clampTo(now time.Time) Record {
	if r.LastSeen.After(now) {
		r.LastSeen = now
	}
	if r.ForgottenAt.After(now) {
		r.ForgottenAt = now
	}
	return r
}
