// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"time"

	"github.com/zeebo/xxh3"
)

// ledgerEntry is where a request was booked, for what becomes of it later. The zero
// value is nowhere.
type ledgerEntry struct {
	ledger      *Ledger
	sender      *sender
	fingerprint fingerprint
}

// part returns the fingerprint of what one HA replica has in a request that has more: the
// rest of it is booked under that of the request. n tells several parts of it apart.
func (f fingerprint) part(cluster, replica string, n int) fingerprint {
	f.hi ^= xxh3.HashString(cluster)
	f.lo ^= xxh3.HashStringSeed(replica, uint64(n))
	return f
}

// restore books that deduplicated samples were stored after all. Those that had been
// before, because the request was delivered more than once, are duplicates.
func (e ledgerEntry) restore(samples int, now time.Time) {
	if e.sender == nil || samples == 0 {
		return
	}
	duplicate := e.ledger.acked.note(e.fingerprint, e.sender, samples, now)
	e.sender.addRestored(samples, duplicate)
}
