// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package ingest is the write path: it takes Prometheus remote write, and OTLP
// metrics (see NewHandlers), from the network, decides which members own each
// series, gives every owner its copy and answers the sender what became of it.
//
//	POST /api/v1/write                             POST /internal/v1/write
//	       |                                                |
//	 NewHandler                                     NewInternalHandler
//	 method, tenant, type, encoding, size           version, tenant, size
//	       |                                                |
//	 decompress -> scan -> validate  (one Batch)     the same three steps
//	       |                                                |
//	  Distributor                                         Local ---> TSDB
//	  one ring view, series -> owners                       |
//	    |         |         \                               |
//	  Local     Peer ------- Peer ---- HTTP --->  another member's internal handler
//	    |         |           |
//	    +---- tally: decide per series ----+
//	                  |
//	    hints for owners that missed it, then the answer
//
// Three rules hold everywhere in the package.
//
// Bytes, not values, travel. The scanner yields each series as the raw bytes of
// its TimeSeries message, with views of its samples. Series of a 2.0 body are known
// by their symbols and written out in 1.0 form, from the symbol table, only where
// somebody needs their labels. A subset of a request is itself a request, so that the
// part of an owner is a concatenation of raw series, never an encoding of values.
//
// Every series gets a verdict of its own from each of its owners, and one pure
// function, decide, turns the verdicts into an outcome that does not depend on
// the order in which they arrived. A bad series never costs its neighbours.
//
// An answer of 2xx, and a series that a 400 counts as written, is a promise: a
// quorum of the configured replication factor has it in the write-ahead log, and
// for each owner that has not, a hint was written before the answer.
package ingest
