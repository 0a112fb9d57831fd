// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// TestLabelsReadNoChunks: questions for names, values and series are answered from the index. The chunks cannot be read here.
func TestLabelsReadNoChunks(t *testing.T) {
	f := newFixture(t)
	f.blocksEach2h(1)
	s := f.open(nil)
	chunksRead := 0
	f.faulty.FailWhen(func(_ int, op, key string) (buckettest.Fault, bool) {
		if strings.Contains(key, "/chunks/") {
			chunksRead++
			return buckettest.FailBefore, true
		}
		return 0, false
	})
	q, err := s.Querier("t1", 0, 80*minute)
	require.NoError(t, err)
	_, _, err = q.LabelNames(t.Context(), nil)
	require.NoError(t, err)
	_, _, err = q.LabelValues(t.Context(), "__name__", nil)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, &storage.SelectHints{End: 80 * minute, Func: funcSeries}, equal("__name__", "up"))
	require.True(t, set.Next())
	require.NoError(t, set.Err())
	require.Zero(t, chunksRead)
	require.Error(t, q.Select(t.Context(), true, nil, equal("__name__", "up")).Err())
	require.Positive(t, chunksRead)
	require.NoError(t, q.Close())
}
