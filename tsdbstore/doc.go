// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package tsdbstore keeps one Prometheus TSDB per tenant under one directory:
// open, append, select, cut into blocks, delete what is old and held elsewhere,
// close. Nothing here knows of the ring, the bucket or HTTP.
//
// The TSDB is used as it is, with one thing added to it: an acknowledgement is
// given only while its write logs are known to be whole. After a failed write
// to the WAL the TSDB loses what it accepts later, and it does not report every
// failure through Commit, so the store reads the TSDB's own failure counters:
//
//	AppenderV2 -> gate -> append -> Commit -> (fsync) -> did a failure counter move?
//	                                                      | no          | yes
//	                                                      v             v
//	                                                     ack       unavailable
//	                                                                    |
//	  gate admits again <- open, replay, repair <- close <- drain <- gate refuses
//	                                               (once there is free space)
//
// Queries go on over a failed TSDB until it is closed; what it holds in memory
// is right, it is only not durable.
//
// Layout of the directory (docs/format/layout.md):
//
//	<dir>/lock                   held while a Store is open
//	<dir>/losses.json            of what times samples may be missing here
//	<dir>/.refill/               scratch space of whoever makes blocks for AddBlock
//	<dir>/<tenant>/wal, wbl, ... as Prometheus' TSDB writes it
//	<dir>/running.json           how the last process left the directory
//	<dir>/<tenant>/retention.json, penstock.wal-failed, penstock.head-damaged, quarantine/
package tsdbstore
