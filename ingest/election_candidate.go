// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// candidate is what an owner knows of one replica.
type candidate struct {
	name              string
	heard, stored     int64 // on the owner's clock; 0 is never
	heardAt, storedAt int64
	// from is the timestamp since which it was stored without a hole.
	from int64
	// gaps are the distances between requests, steps those between their timestamps:
	// a server that catches up, or scrapes everything at one time, goes in leaps.
	gaps, steps gapMemory
}

// cover adds a timestamp that was stored. A step that is longer than the usual begins
// anew: what others have of that time must not be dropped.
func (c *candidate) cover(at int64) {
	usual := max(c.gaps.usual(), c.steps.usual())
	if c.storedAt == 0 || at > c.storedAt+max(usual*3/2+silenceSlack, silenceMin) {
		c.from = at + coverMargin
	}
	if at > c.storedAt {
		c.steps.add(at - c.storedAt)
		c.storedAt = at
	}
}

// silence is how long the replica may be silent: longer than its own interval needs.
func (c *candidate) silence() int64 {
	if !c.gaps.learned() {
		return silenceMax
	}
	return min(max(2*c.gaps.usual()+silenceSlack, silenceMin), silenceMax)
}

// lagMax is how far it may trail another one in the timestamps of its samples.
func (c *candidate) lagMax() int64 {
	return max(c.silence(), min(2*c.steps.usual(), silenceMax)) + behindSlack
}

// gapMemory has the last distances between requests of one replica.
type gapMemory struct {
	gaps [gapsKept]int64
	n    int
}

// add notes a distance. One beyond the largest bound is an outage, not an interval.
func (m *gapMemory) add(gap int64) {
	if gap <= silenceMax {
		m.gaps[m.n%gapsKept] = gap
		m.n++
	}
}

func (m *gapMemory) learned() bool { return m.n >= gapsLearned }

// usual is the third largest distance: one that comes again. Requests come in bursts, so
// that a mean would say nothing, and two hiccups must not set it.
func (m *gapMemory) usual() int64 {
	var top [3]int64
	for _, g := range m.gaps[:min(m.n, gapsKept)] {
		for i := range top {
			if g > top[i] {
				g, top[i] = top[i], g
			}
		}
	}
	return top[2]
}

// fresh tells whether the replica is being stored. One whose interval is not known has to
// have been stored just now: it could be dead otherwise.
func (c *candidate) fresh(now int64) bool {
	bound := int64(silenceMin)
	if c.gaps.learned() {
		bound = c.silence()
	}
	return c.stored > 0 && now-c.stored <= bound
}
