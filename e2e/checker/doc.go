// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package checker writes samples whose values it can say again at any time, keeps what it was told of each, and reads
// all of it back. It knows Penstock by remote write and by Prometheus' HTTP API only, and uses none of its packages.
//
//	Load.Run --remote write--> nodes or load balancer --query API--> Read --> Plan.Compare --> Findings
//	    |                                                                         ^
//	    +------------ Record: the outcome of every sample ------------------------+
//
// The value of a sample is a function of its series and its time, so that a sample in the wrong place cannot pass for
// a right one. Compared are bits.
package checker
