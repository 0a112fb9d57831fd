// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package interop tests that Thanos and Penstock read what the other wrote. It is a module of its own, with the Prometheus
// that Thanos needs; the two meet in the files of a directory.
//
//	remote write ──► three nodes ──► copies in a bucket ──┬──► Thanos' compactor ──► store, querier ──┐
//	                                                      ├──► Penstock's compactor ──► both ─────────┼──► the same answers
//	                                                      └──► Penstock's gateway ────────────────────┘
//	blocks of a sidecar ──► Thanos' compactor ──┬──► store, querier ──┐
//	                                            └──► Penstock ────────┴──► the same answers
//
// Thanos takes labels for slices, so that it is built with the tag slicelabels.
package interop
