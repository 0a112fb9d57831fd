// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"
)

// seed is what a run is made from. Everything random is a function of the seed and of
// what it is for, never of how many numbers were drawn before: so what one part of a
// run does moves no other part.
type seed uint64

// hash mixes the seed with what is to be decided.
func (s seed) hash(parts ...any) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(s))
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			_, _ = d.WriteString(v) // Never fails.
			_, _ = d.Write([]byte{0})
		case []byte:
			_, _ = d.Write(v)
		case int:
			writeUint(&d, uint64(v))
		case int64:
			writeUint(&d, uint64(v))
		case uint64:
			writeUint(&d, v)
		case time.Time:
			writeUint(&d, uint64(v.UnixNano()))
		default:
			panic("BUG: cannot hash this")
		}
	}
	return d.Sum64()
}

func writeUint(d *xxhash.Digest, v uint64) {
	var b [8]byte
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	_, _ = d.Write(b[:]) // Never fails.
}

// rand returns a source of its own for one purpose.
func (s seed) rand(parts ...any) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(s), s.hash(parts...)))
}

// chance is true with a probability.
func (s seed) chance(p float64, parts ...any) bool { return fraction(s.hash(parts...)) < p }

// fraction maps a hash to [0, 1).
func fraction(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// between draws a duration.
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)+1))
}

// pick draws one of several.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }
