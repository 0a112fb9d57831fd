// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package dedup makes one series of the series of several HA replicas, at query time.
//
//	engine, remote read
//	      │ Select(mint, maxt)
//	      ▼
//	┌── Queryable ────────────────────────────────────────────────────┐
//	│ read below:   [mint-margin, maxt+margin]                        │
//	│ group:        drop the replica labels, group, sort again        │
//	│ one replica:  its own iterator, trimmed                         │
//	│ more:         tracks (windows over the replicas' records)       │
//	│                 → levels (who holds which time: rule.go)        │
//	│                 → skew filter → trim to [mint, maxt]            │
//	└──────┬──────────────────────────────────────────────────────────┘
//	       │ Select(mint-margin, maxt+margin), replica labels and all
//	       ▼
//	anything that is a storage.SampleAndChunkQueryable
//
// Nothing here looks at PromQL function names, and nothing is remembered between
// queries: which samples are chosen depends on the stored samples within the
// margin around them only, so a range asked in pieces gives what it gives whole.
// The rule is in rule.go, and with its bounds and limits in DESIGN.md.
package dedup
