// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"testing"

	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// TestZeroAtStart stores a zero at the start timestamp of the first sample only when it
// is asked to, and never twice.
func TestZeroAtStart(t *testing.T) {
	for _, inject := range []bool{false, true} {
		s := testStore(t, Config{ZeroAtStart: inject})
		for _, ts := range []int64{1000, 2000, 2000} {
			app, err := s.AppenderV2(t.Context(), "a")
			require.NoError(t, err)
			_, err = app.Append(0, named("counter"), 400, ts, 5, nil, nil, storage.AOptions{})
			require.NoError(t, err)
			require.NoError(t, app.Commit())
		}
		want := map[int64]float64{1000: 5, 2000: 5}
		if inject {
			want[400] = 0
		}
		require.Equal(t, want, samples(t, s, "a")[named("counter").String()])
	}
}
