// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// sketchSize is how many hashes a sketch keeps. A count up to that is exact; above, one in three is off by more than
// 1/sqrt(4096) = 1.6 %. It is 32 KiB for a label that has as many values.
const sketchSize = 4096

// sketch counts the distinct strings of several members together, without sending the strings: it is the least of their
// hashes, sorted, each once. How close they lie tells how many there are in all.
type sketch []uint64

// newSketch makes a sketch of strings, each of which is given once.
func newSketch(values []string) sketch {
	s := make(sketch, 0, len(values))
	for _, v := range values {
		s = append(s, xxhash.Sum64String(v))
	}
	slices.Sort(s)
	return s.cut()
}

func (s sketch) cut() sketch {
	s = slices.Compact(s)
	if len(s) > sketchSize {
		s = slices.Clone(s[:sketchSize])
	}
	return s
}

// union is the sketch of the strings of both.
func (s sketch) union(o sketch) sketch {
	both := slices.Concat(s, o)
	slices.Sort(both)
	return both.cut()
}

// count returns how many strings there are, exactly or about.
func (s sketch) count() int {
	if len(s) < sketchSize {
		return len(s)
	}
	// With hashes spread evenly, the k-th least of n lies at k/n of the range.
	part := float64(s[len(s)-1]) / math.MaxUint64
	return int(math.Round(float64(len(s)-1) / part))
}
