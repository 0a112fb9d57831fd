// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package interop tests that Thanos and Penstock read what the other wrote. It is a module of its own, with the Prometheus
// that Thanos needs; the two meet in the files of a directory.
package interop
