// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package downsample makes blocks with a sample every 5 minutes or every hour out of blocks with every sample, and reads
// them as PromQL needs them. The format is Thanos' (see docs/format/aggrchunk.md): either reads what the other wrote.
//
//	block on disk                         block on disk
//	  series ─► chunks ─► samples ─► batches ─► windows of 5m or 1h ─► one chunk of five aggregates ─► series
//	                                                                     count sum min max counter
//
//	query: step, range, function
//	  Resolution ─► Cover: which block answers for which time ─► pieces of each series ─► Series: one aggregate as samples
//	  AggregateFor ────────────────────────────────────────────────────────────────────┘
//
// Writing holds the samples of one series at a time. What reads is pure functions and iterators: no clock, no context, and
// nothing that is shared, except where a name says so.
package downsample
