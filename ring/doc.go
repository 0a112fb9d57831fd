// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package ring says who owns a series, and who the members are.
//
// It has a pure core and a thin shell. The core takes values and returns
// values: Ring maps 4096 slots to owners, History keeps what is known of every
// member. The shell, Cluster, feeds the core from hashicorp/memberlist and
// publishes the result as one immutable View.
//
//	               gossip (UDP, TCP; label and key)
//	                       |
//	seeds,  re-join  +------------+  alive, meta, dead   +---------+  members  +------+
//	last known ----->| memberlist |--------------------->| History |---------->| Ring |
//	members          +------------+  push/pull of what   +---------+           +------+
//	                       |         is known of others       |                   |
//	                 refuses foreign                     members.json             v
//	                 settings, meta                       (by rename)       View (atomic)
//
// Gossip carries membership, never data and never decisions: every member
// computes the same ring from the same members. A dead member keeps its slots,
// so that a restart moves nothing; it loses them when it leaves for good, or is
// forgotten after a time while a majority of the known members is alive.
//
// The package also holds what members need to trust each other: the shared
// settings that all must agree on, and Auth, the signature of HTTP requests
// between members.
package ring
