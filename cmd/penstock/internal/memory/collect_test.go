// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSetCollection(t *testing.T) {
	before := debug.SetGCPercent(70)
	defer debug.SetGCPercent(before)

	t.Setenv("GOGC", "70")
	SetCollection()
	require.Equal(t, "70", Collection())

	t.Setenv("GOGC", "")
	SetCollection()
	require.Equal(t, "150", Collection())

	debug.SetGCPercent(-1)
	require.Equal(t, "off", Collection())
}
