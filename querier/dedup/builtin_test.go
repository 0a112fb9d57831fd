// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
)

// TestBuiltinSuiteOverIdenticalPair: for two replicas that see exactly the same, the
// answer to all of Prometheus' own tests is that of one. No exceptions.
func TestBuiltinSuiteOverIdenticalPair(t *testing.T) {
	promqltest.RunBuiltinTestsWithStorage(t, newEngine(t), func(t testing.TB) storage.Storage {
		return newPairStorage(t, Config{ReplicaLabels: []string{pairLabel}})
	})
}
