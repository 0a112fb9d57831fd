// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

// joiner makes one counter that never falls out of the counters of consecutive chunks, downsampled and raw ones mixed.
//
//	chunk 1   10 14 20 20'3        the value at the time of the last window says what was shown: 3, after a reset
//	chunk 2                5 9     begins with what was shown: 5, so it rose by 2, and was not reset
//	total     10 14 20     22 26
//
// Chunks may overlap in time. Of a chunk whose beginning is known already only the rest counts, from its own value at that
// time on: the counter of a downsampled chunk is not comparable with what another one says of the middle of it.
type joiner struct {
	some  bool
	lastT int64   // Of the sample that was taken last.
	last  float64 // What the counter showed then.
	total float64

	// Of the current chunk.
	inside    bool // A sample of it was seen.
	taken     bool // One was taken.
	previous  float64
	previousT int64
}

// begin is to be called before each chunk.
func (j *joiner) begin() { j.inside, j.taken = false, false }

// add takes the next sample of the chunk. It is false for one that is not a sample of the joined counter.
func (j *joiner) add(t int64, v float64) bool {
	if v != v { // NaN.
		return false
	}
	switch {
	case !j.some:
		j.some, j.total = true, v
	case t <= j.lastT:
		if j.taken && t == j.lastT {
			j.last = v
		}
		j.skip(t, v)
		return false
	case j.inside:
		rise := risen(j.previous, v)
		if j.previousT < j.lastT { // The chunk has a hole, of which a part is counted already.
			rise *= float64(t-j.lastT) / float64(t-j.previousT)
		}
		j.total += rise
	default:
		j.total += risen(j.last, v)
	}
	j.lastT, j.last, j.taken = t, v, true
	j.skip(t, v)
	return true
}

// skip passes over a sample of the chunk.
func (j *joiner) skip(t int64, v float64) {
	if v == v {
		j.inside, j.previous, j.previousT = true, v, t
	}
}
