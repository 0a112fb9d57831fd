// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoAllocationPerSample holds the promise of the hot path: once the series are
// known, a request of 1,000 float samples allocates what one of 100 does.
func TestNoAllocationPerSample(t *testing.T) {
	const few, many = 100, 1000
	nodes := map[string]func(testing.TB, AppenderSource) http.Handler{
		"local":      func(_ testing.TB, s AppenderSource) http.Handler { return cachedNode(s) },
		"replicated": replicatedNode,
	}
	for name, node := range nodes {
		for _, version := range []string{"1.0", "2.0"} {
			t.Run(name+" "+version, func(t *testing.T) {
				measure := func(series int) float64 {
					h := node(t, steadyStore{openStore(t)})
					load := newBenchLoadOf(t, version == "2.0", series)
					send := func() {
						w := httptest.NewRecorder()
						h.ServeHTTP(w, load.next())
						require.Equal(t, http.StatusNoContent, w.Code)
					}
					send() // Series are created, and
					send() // have references.
					// Few enough for the first chunk of each series.
					return testing.AllocsPerRun(20, send)
				}
				a, b := measure(few), measure(many)
				t.Logf("%.0f allocations for %d samples, %.0f for %d", a, few, b, many)
				// A pool may lose a batch now and then; that is no allocation per sample.
				require.Less(t, b-a, 0.1*(many-few))
			})
		}
	}
}
