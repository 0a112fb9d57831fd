// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package limits reads the file of --limits.config-file and holds what it says, for
// the node and for each tenant. docs/limits.md has the keys, their defaults and the
// reason for each.
//
//	file --- Parse ---> Set (immutable) --- Runtime.Current ---> write path, store, status
//	          |  ^
//	     bad: |  +---- Runtime.Reload <--- SIGHUP, POST /-/reload
//	     the old Set stays, and a metric and a log line say so
package limits
