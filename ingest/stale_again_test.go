// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestStaleMarkerOfHistogramsSentAgain: Prometheus ends the series of a native histogram with a float. Sent again after a
// 503, it is the same sample and no conflict, also when the store was opened anew.
func TestStaleMarkerOfHistogramsSentAgain(t *testing.T) {
	now := nowMillis()
	for name, h := range map[string]prompb.Histogram{
		"integers":       prompb.FromIntHistogram(now-1, intHistogram()),
		"floats":         prompb.FromFloatHistogram(now-1, intHistogram().ToFloat(nil)),
		"custom buckets": prompb.FromIntHistogram(now-1, customHistogram()),
		"custom floats":  prompb.FromFloatHistogram(now-1, customHistogram().ToFloat(nil)),
	} {
		for _, contentType := range []string{typeV1, typeV2} {
			t.Run(name+" "+contentType, func(t *testing.T) {
				store := openStore(t)
				node := oneNode(t, store)
				send := func(s prompb.TimeSeries) int {
					s.Labels = labelsV1("__name__", "h")
					series := []prompb.TimeSeries{s}
					if contentType == typeV2 {
						return post(t, node, typeV2, encodeV2(t, toV2(series))).Code
					}
					return post(t, node, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})).Code
				}
				at := func(v float64) prompb.TimeSeries {
					return prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: now, Value: v}}}
				}
				require.Equal(t, http.StatusNoContent, send(prompb.TimeSeries{Histograms: []prompb.Histogram{h}}))
				require.Equal(t, http.StatusNoContent, send(at(staleNaN())))
				stored := store.dump(t)
				require.Len(t, stored[`{__name__="h"}`], 2)
				require.Equal(t, http.StatusNoContent, send(at(staleNaN())), "the same again")
				store.reopen(t)
				require.Equal(t, http.StatusNoContent, send(at(staleNaN())), "and after a restart")
				require.Equal(t, http.StatusBadRequest, send(at(5)), "another value is one")
				require.Equal(t, stored, store.dump(t))
			})
		}
	}
	t.Run("a float is there", func(t *testing.T) {
		store := openStore(t)
		node := oneNode(t, store)
		send := func(v float64) int {
			req := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(now, v, "__name__", "f")}}
			return post(t, node, typeV1, encodeV1(t, req)).Code
		}
		require.Equal(t, http.StatusNoContent, send(5))
		require.Equal(t, http.StatusBadRequest, send(staleNaN()))
		require.Equal(t, map[string][]storedSample{`{__name__="f"}`: {float(now, 5)}}, store.dump(t))
	})
}
