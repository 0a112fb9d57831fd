// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package limit keeps queries from taking a node down: each has an account of what it takes, and ends when that is more
// than its tenant may, or more than the process has.
//
//	request ── Handler: text, range, concurrency ── account in the context, timeout ── slow-query log
//	              │
//	           Again: made room for another query, begun again after it
//	              │
//	        (split, cache)
//	              │
//	           Engine: a turn on a core, samples held, why it ended in words
//	              │
//	           dedup
//	              │
//	         Queryable: series, samples, memory      Run: memory is short ── one goes on, the others make room; the heaviest ends
//	              │
//	           fan-out ── Local (bytes), Received (bytes of peers), Spent (bytes of the bucket)
//
// Memory that an account holds is an estimate, made of what passes by: it tells the heavy from the light, and how much all
// of them have come to hold since garbage was last collected. What the process uses is measured.
//
// Turns are what keeps writes going. The Go scheduler looks for requests on the network only when a core has nothing else
// to do, so that with a query on each core a write waits for tens of milliseconds several times. While writes come, one
// core is therefore kept from queries: so many of them compute at a time, and hand on their turn every few milliseconds.
package limit
