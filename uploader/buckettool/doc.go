// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package buckettool is what operators do to the blocks in a bucket: list, verify, clean up, rewrite and import.
//
//	Blocks.Metas ──► Listing ──► Select, Rows         what there is
//	                        ├──► Findings             what is wrong with the whole, from meta.json and marks alone
//	                        ├──► PlanCleanup          what may go
//	                        └──► PlanImport           what of another place is not there yet
//
//	one block ──► CheckBlock, Rewrite, Importer.Import   by way of a scratch directory, one block at a time
//
// What is decided is decided by functions of a listing and a time, so that --dry-run shows what would be done. What is done
// can be cut off anywhere and done again: blocks are uploaded as members upload them, meta.json last, and marked before they
// are deleted.
package buckettool
