// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// TestStartTimestamps brings the start timestamps of a 2.0 request to three owners, as
// the body came, as a part of it in 1.0 form, and as a hint. An owner that injects zeros
// shows what it got.
func TestStartTimestamps(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	request := func(damaged bool) []byte {
		req := toV2([]prompb.TimeSeries{
			{Labels: labelsV1("__name__", "counter"), Samples: []prompb.Sample{{Timestamp: now, Value: 7}, {Timestamp: now + 10, Value: 8}, {Timestamp: now + 30, Value: 1}}},
			{Labels: labelsV1("__name__", "histogram"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, intHistogram())}},
			seriesV1(now, 1, "__name__", "none"),
			seriesV1(now, 1, "__name__", "not before the sample"),
		})
		for i, start := range []int64{now - 5, now - 5, now + 20} { // A restart before the third.
			req.Timeseries[0].Samples[i].StartTimestamp = start
		}
		req.Timeseries[1].Histograms[0].StartTimestamp = now - 6
		req.Timeseries[3].Samples[0].StartTimestamp = now
		if damaged { // Then the body cannot be passed on as it came.
			req.Timeseries = append(req.Timeseries, writev2.TimeSeries{LabelsRefs: []uint32{99, 99}, Samples: []writev2.Sample{{Timestamp: now}}})
		}
		return encodeV2(t, req)
	}
	for _, damaged := range []bool{false, true} {
		for _, inject := range []bool{false, true} {
			c := newStoreCluster(t, 3, 3, func(o *tsdb.Options) { o.EnableSTAsZeroSample = inject })
			c.setAlive(func(i int) bool { return i != 2 })
			want := http.StatusNoContent
			if damaged {
				want = http.StatusBadRequest
			}
			for range 2 { // Delivered again it is the same.
				w := post(t, c.members[0].handler, typeV2, request(damaged))
				require.Equal(t, want, w.Code, w.Body)
				require.Equal(t, "5", w.Header().Get(headerSamplesWritten), "zeros are not counted")
				require.Equal(t, "1", w.Header().Get(headerHistogramsWritten))
			}
			c.setAlive(func(int) bool { return true })
			c.replay()
			for i, m := range c.members {
				got := m.store.dump(t)
				if !inject {
					require.Equal(t, []storedSample{float(now, 7), float(now+10, 8), float(now+30, 1)}, got[`{__name__="counter"}`], i)
					require.Len(t, got[`{__name__="histogram"}`], 1)
				} else {
					require.Equal(t, []storedSample{float(now-5, 0), float(now, 7), float(now+10, 8), float(now+20, 0), float(now+30, 1)}, got[`{__name__="counter"}`], i)
					require.Len(t, got[`{__name__="histogram"}`], 2)
					require.Equal(t, now-6, got[`{__name__="histogram"}`][0].t)
				}
				require.Len(t, got[`{__name__="none"}`], 1)
				require.Len(t, got[`{__name__="not before the sample"}`], 1)
			}
		}
	}
}
