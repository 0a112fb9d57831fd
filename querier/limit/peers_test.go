// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// A question of a peer has an account: its turn begins with its answer and rests while the network is waited for, what is read is
// counted, and it ends in the limits of the tenant.
func TestPeerHandler(t *testing.T) {
	r := newRig(t)
	all := labels.MustNewMatcher(labels.MatchEqual, "__name__", "a")
	store := r.books.Local(store{r.db})
	var served error
	answer := func(w http.ResponseWriter, req *http.Request) {
		ctx := req.Context()
		a := From(ctx)
		require.NotNil(t, a)
		require.Zero(t, r.books.turns.running, "it may still wait for leave to be answered")
		cq, err := store.ChunkQuerier("t", 0, 1_000_000)
		require.NoError(t, err)
		defer cq.Close()
		set := cq.Select(ctx, true, nil, all)
		require.Equal(t, 1, r.books.turns.running)
		read := 0
		for set.Next() {
			it := set.At().Iterator(nil)
			for it.Next() {
				read += len(it.At().Chunk.Bytes())
			}
			if served = it.Err(); served != nil {
				return
			}
		}
		if served = set.Err(); served != nil {
			return
		}
		require.EqualValues(t, read, a.localBytes.Load())
		require.Positive(t, a.series.Load())
		_, err = w.Write([]byte("frame"))
		require.NoError(t, err)
		require.Equal(t, 1, r.books.turns.running)
		w.(http.Flusher).Flush()

		q, err := store.Querier("t", 0, 1_000_000)
		require.NoError(t, err)
		defer q.Close()
		values, _, err := q.LabelValues(ctx, "i", nil)
		require.NoError(t, err)
		require.Len(t, values, rigSeries)
		n := 0
		for series := q.Select(ctx, true, &storage.SelectHints{End: 1_000_000, Func: "series"}, all); series.Next(); n++ {
			series.At()
		}
		require.Equal(t, rigSeries, n)
	}
	h := r.books.PeerHandler(http.HandlerFunc(answer))
	w := r.get(h, "/internal/v1/read", nil)
	require.NoError(t, served)
	require.Equal(t, "frame", w.Body.String())
	require.Zero(t, r.books.turns.running)
	require.Empty(t, r.books.accounts())

	r.limits.MaxBytes = 1000
	r.get(h, "/internal/v1/read", nil)
	require.ErrorContains(t, served, "query_max_bytes")
	require.Zero(t, r.books.turns.running)
	r.limits = Defaults()
	r.limits.MaxSeries = 5
	r.get(h, "/internal/v1/read", nil)
	require.ErrorContains(t, served, "query_max_series")
}
