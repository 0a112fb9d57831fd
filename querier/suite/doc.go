// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package suite holds nothing but a test: Prometheus' own tests of PromQL, with their samples laid out in the ways in which a
// cluster may have them. Whatever an answer holds went through the fan-out.
//
//	promqltest ── load ──► layout ──► TSDBs of members, blocks in a bucket
//	           ── eval ──► engine ──► dedup ──► fan-out ──┘
package suite
