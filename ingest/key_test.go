// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// TestSeriesKeyOfLabels: whoever has labels finds the owners that a write found.
func TestSeriesKeyOfLabels(t *testing.T) {
	lset := labels.FromStrings("__name__", "up", "instance", "a:9090", "job", "x", "µ", "\"")
	var pairs []labelPair
	lset.Range(func(l labels.Label) {
		pairs = append(pairs, labelPair{name: []byte(l.Name), value: []byte(l.Value)})
	})
	want, _ := seriesKey(nil, "team-a", pairs)
	got, buf := SeriesKey([]byte("left over"), "team-a", lset)
	require.Equal(t, want, got)
	got, _ = SeriesKey(buf, "team-b", lset)
	require.NotEqual(t, want, got)
}
