// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory keeps a node below the memory that its host or container gives it.
//
// SetLimit tells the Go runtime how much that is, so that it collects garbage in time.
// That alone does not help when what is in use grows: then a Guard turns work away,
// first what makes series, then all writes, before the kernel ends the process and
// with it the work of everyone. SetCollection says how often to collect while there is
// room.
//
//	share of the limit that is in use, garbage not counted
//	0 %                               80 %                90 %
//	|------- everything is taken ------|-- no new series --|-- no writes --
package memory
