// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package compactor keeps the blocks in the bucket few, whole and without copies.
//
//	Run, every Interval
//	     │
//	Index.Listing ── the owner of the index lists the bucket and writes the index object; the others read it
//	     │
//	  plan (pure) ── groups ─► covered blocks, expired blocks, windows with more than one block
//	     │ windows of 14d of a group that Config.Owns gives to this member
//	     ▼
//	task: download ─► merge ─► check ─► upload, meta.json last ─► deletion marks on the inputs
//	     │                       a broken input: no-compact mark, and the rest goes on
//	     ▼
//	marks older than DeletionDelay: deleted, if what is covered by then is still covered
//
// Three kinds of work make blocks of blocks. Copies of one 2h range, one of each member, become one block as soon as all of
// them can be expected to be there. Blocks of a longer range (8h, 2d, 14d) become one when the range is over. A copy that is
// late is merged with whatever is there already: overlap is ordinary input.
//
// # Why two at work at once do no harm
//
// Owners are picked without a lock, by who seems to be alive, so that two members can do the same at the same time, with
// listings of different age. Nothing that they do depends on being alone:
//
//   - A block is made under a new name, and is there when its meta.json is. Nobody else writes below that name.
//   - An input is marked only when the block made of it is verified, and anyone marks a block only when a block is there
//     that has strictly more sources, or the same and is older (bucket.Covered). So the marks follow an order without
//     circles, and of all that ever held a source, what comes last in that order has no mark.
//   - Before a marked block is deleted, days later, it must still be covered by one without a mark. If it is not, the mark is
//     taken off, and the error is logged and counted.
//   - Two blocks made of overlapping sets of inputs overlap, and are merged like late copies.
//
// Every task leaves fewer blocks that are not covered, so that planning comes to an end.
//
// # What a crash leaves
//
// A directory in Config.Dir, which the next start removes. Objects without a meta.json, which are cleaned when nothing was
// added to them for PartialDelay. A new block whose inputs are not all marked: they are covered, and the next run marks them.
package compactor
