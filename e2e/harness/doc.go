// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package harness runs the parts of an end-to-end test as processes: Penstock nodes, real Prometheus servers, a real
// S3 server, a real load balancer, and targets to scrape.
//
//	targets <-- Prometheus A, B --> HAProxy or nginx --> Penstock 1, 2, 3 --> versitygw (S3)
//
// Everything listens on loopback, on ports of its own, and keeps its files below one directory of the test. A process
// ends with the test that started it, at the latest when the test process dies. Nothing here decides a verdict by
// sleeping: what takes time is polled until it holds, with a deadline that is generous for a busy machine.
//
// A test that harms what is between nodes, or their disks, first calls Isolate and then gives each node a Host of a
// Network and a Disk.
//
// The load balancer and the Prometheus servers run the files in deploy, with addresses and intervals replaced, so that
// what is deployed is what is tested.
package harness
