// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNewest: the newest sample is that of the head, or when it was cut, of a block.
func TestNewest(t *testing.T) {
	s := testStore(t, Config{})
	require.Equal(t, int64(math.MinInt64), s.Newest("a"), "nobody")
	require.Equal(t, int64(math.MaxInt64), s.Newest("no/tenant"), "it cannot be known")
	require.NoError(t, write(s, "a", 5000, 1, named("x")))
	require.Equal(t, int64(5000), s.Newest("a"))
	require.NoError(t, write(s, "a", 9000, 1, named("x")))
	require.NoError(t, write(s, "a", 7000, 1, named("y")))
	require.Equal(t, int64(9000), s.Newest("a"), "of any series")
	require.NoError(t, s.FlushHead(t.Context(), "a"))
	require.GreaterOrEqual(t, s.Newest("a"), int64(9000), "in a block")
	require.Less(t, s.Newest("a"), int64(math.MaxInt64))
}
