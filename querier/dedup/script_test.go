// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// TestScripts runs the stories of testdata/dedup. Their replica labels are replica and
// zone.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../../testdata/dedup/*.test")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	engine := newEngine(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			require.NoError(t, err)
			promqltest.RunTestWithStorage(t, string(script), engine, func(t testing.TB) storage.Storage {
				return newDedupStorage(t, Config{ReplicaLabels: []string{"replica", "zone"}})
			})
		})
	}
}
