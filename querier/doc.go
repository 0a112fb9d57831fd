// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package querier is the read path: it answers from everything that the cluster
// holds as if it were one Prometheus.
//
//	promql engine, web/api/v1
//	          │ Select(tenant from ctx)
//	          ▼
//	┌──────── Querier ────────────────────────────────────────────┐
//	│ fan-out: every member that is alive and serving, at once    │
//	│   local TSDB     peers, by streamed remote read             │
//	│      │              │  each answer read whole, or "missing" │
//	│      └──────┬───────┘                                       │
//	│   completeness: who is missing, and may that many be?       │
//	│             │ no: error, or a warning if partial is allowed │
//	│             ▼ yes                                           │
//	│   bucket: only for time before every member's local start,  │
//	│           or for all of it while a member is missing        │
//	│             │                                               │
//	│   stage 1: copies of a series are merged without loss       │
//	└─────────────┬───────────────────────────────────────────────┘
//	              ▼
//	   one series per label set, sorted
//
// Copies of a series are meant to be identical. Chunks with the same bytes are
// recognised and kept once, undecoded; what is left and overlaps is merged by
// timestamp, and where two copies disagree at one timestamp one commutative rule
// decides (see compareValues). HA replicas, which differ by nature, are not this
// package's business: querier/dedup is a layer above it.
//
// The other side of the fan-out, what a member serves to its peers from its own
// TSDBs and nothing else, is [NewPeerHandler]. The protocol between the two is
// Prometheus' streamed remote read; docs/format/read.md tells what we add to it.
package querier
