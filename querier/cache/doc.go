// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package cache keeps the engine from evaluating again what it has evaluated.
//
//	web/api/v1
//	     │ a query
//	     ▼
//	┌── Engine: a promql.QueryEngine ─────────────────────────────────────────────┐
//	│ flights: the same query that several ask for at one time is run once        │
//	│     │                                                                       │
//	│     ├── instant queries, and ranges that cannot be split: as they are ──────┼──► engine
//	│     ▼                                                                       │
//	│ shape: may the answer be put together from pieces, and how long are these?  │
//	│     ▼                                                                       │
//	│ pieces: the steps of each day    ◄── store: what is known of them, bounded  │
//	│     │ those steps that are not known ───────────────────────────────────────┼──► engine
//	│     ▼                                                                       │
//	│ joined, and what cannot change any more is kept                             │
//	└─────────────────────────────────────────────────────────────────────────────┘
//
// An answer that was put together is the answer that the engine gives to the whole query, bit by bit. What makes that so is
// that the engine evaluates each step of a range by itself; shape.go lists the exceptions, which are left whole.
//
// What is kept is what nothing can change: complete, and so old that no sample of that time is taken any more. It is forgotten
// when the data of its time are others (Config.Version), and when room is needed.
package cache
