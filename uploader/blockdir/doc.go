// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package blockdir writes directories that are TSDB blocks, and reads them from the first byte to the last to say everything
// that is wrong with them.
//
//	series in order ──► Writer ──► <dir>.tmp-for-creation/{chunks,index,meta.json} ──rename──► <dir>
//
//	<dir> ──► Check ──► Report: what there is, and Issues: every kind of damage, counted, with examples
//
// Opening a block proves little: TSDB checks a posting list, a series or a chunk when it is read. And whoever has to decide
// what becomes of a damaged block wants to know all of the damage, not the first of it.
package blockdir
