// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package workload makes believable remote-write traffic without a Prometheus:
// the HA pair of `penstock demo` and the load of `penstock loadgen`.
//
//	Fleet ──Scrape(t)──▶ []Sample ──Encode──▶ Request ──Sender──▶ receivers
//	synthetic            values at t          snappy      round robin, retries
//	targets                                   protobuf
//
// The value of a series is a function of the series and the time alone. So two
// senders that scrape one fleet at different moments see one and the same
// target, as the two servers of an HA pair do; a sample that is encoded twice
// has the same value twice; and nothing here needs a lock or a random source.
//
// A Replica runs the whole chain on a schedule (the demo); BuildLoad runs all
// of it but the sending ahead of time (the load generator).
package workload
