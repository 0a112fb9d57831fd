// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package refill gives a member back what its disk should hold and does not: a
// loss. The disk was replaced, a write log or a block was set aside as damaged,
// hints for the member were dropped, it was away for longer than hints are kept, or it was not
// there when the others were fewer than copies.
//
//	losses ──► plan ──► units, newest first: one block range of one tenant
//	                      │
//	          the other members, merged ──► series that this member owns
//	                      │
//	               block in scratch ──► read back ──► digests equal?
//	                      │                               │
//	                      └───────── AddBlock ◄── yes ────┘── no: discard, try again
//	                                    │
//	                        progress file ──► all units done ──► ResolveLoss
//
// # Why a resolved loss is whole
//
// Take any acknowledged sample of a series that this member owns, with a time
// inside of the loss. When the loss is resolved the sample is here, or it is a
// hint for this member that is younger than the round of refilling and on its way.
//
//  1. A round begins when every other member that can be asked says that it routes
//     writes to this very data directory: alive, ACTIVE, in its ring. From then on a
//     write that is acknowledged was taken by this member, or left a hint for it, or
//     was counted as a new loss. That is how writes work, refilling or not.
//  2. Writes that looked at the ring before that may still be on their way. The round
//     waits for Config.Settle, which is longer than a write can take, and only then
//     asks for the tenants and reads.
//  3. So every acknowledged write was either acknowledged before the first read, or
//     is under the care of point 1. What was acknowledged before is in the heads or
//     blocks of enough other owners: W of RF have it, this member may have been one
//     of them, so at least W-1 others do. A read that lacks at most W-2 of the other
//     members has asked one that has it. Fewer answers are an error, and the round
//     waits for more.
//  4. It follows that no range has to be read twice: late and out-of-order samples
//     that are written while a range is read are written to this member too. And the
//     end of a loss need not be known exactly. It has to be behind the newest
//     timestamp that could have been acknowledged when the member was found to take
//     writes, which is that time and the farthest that a sample may lie in the future.
//  5. What was written at the same time as it is read may come both ways. Copies of a
//     sample are merged where they are read, as they are everywhere.
//  6. Hints for this member that are older than the round are waited for at the end,
//     for at most Config.HintWait. Nothing about completeness depends on that: a hint
//     stands for a copy beyond the W that were acknowledged.
//  7. A member that is stopped in the middle takes up at the unit it was at. What the
//     others acknowledged meanwhile is a hint, or, if it was away for longer than
//     hints are kept, another loss.
//
// Where other members have losses of their own there may be nobody who has
// everything: two disks replaced at once. Then, if all others answer, what
// comes out of them together is all that there is; the range is done, and counted
// and logged as short. Waiting would not bring more, and both would wait for each
// other for ever. If even one member cannot be asked, its disk may hold what is
// missing, and the round waits for it.
//
// A loss where no copies exist, with a replication factor of 1, is given up: loudly.
//
// # Why blocks
//
// Everything is added as blocks, the range that is still being written too. A TSDB refuses
// samples older than its out-of-order window, counted from its newest sample, which live
// writes move on all the time; those it takes out of order cost several times what ordered
// ones do, and a write log besides. A block has no such window, appears whole or
// not at all (by a rename), can be read back and compared before it appears, and leaves the
// head to live writes. It carries the hint that says it came out of order, because
// a TSDB takes the end of any other block for the point up to which its write log
// is obsolete. The price is a block that overlaps the one cut from the head later;
// queries merge them, and so does compaction.
package refill
