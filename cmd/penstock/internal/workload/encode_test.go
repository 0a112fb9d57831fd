// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// decoded is what a receiver finds in a request.
type decoded struct {
	labels string
	t      int64
	v      float64
	h      *histogram.Histogram
	help   string
}

func decompress(t *testing.T, r Request) []byte {
	t.Helper()
	raw, err := snappy.Decode(nil, r.Body)
	require.NoError(t, err)
	return raw
}

func decodeV1(t *testing.T, r Request) []decoded {
	t.Helper()
	var w prompb.WriteRequest
	require.NoError(t, w.Unmarshal(decompress(t, r)))
	b := labels.NewScratchBuilder(0)
	var out []decoded
	for _, ts := range w.Timeseries {
		d := decoded{labels: ts.ToLabels(&b, nil).String()}
		require.Equal(t, 1, len(ts.Samples)+len(ts.Histograms))
		for _, s := range ts.Samples {
			d.t, d.v = s.Timestamp, s.Value
		}
		for _, h := range ts.Histograms {
			d.t, d.h = h.Timestamp, h.ToIntHistogram()
		}
		out = append(out, d)
	}
	return out
}

func decodeV2(t *testing.T, r Request) []decoded {
	t.Helper()
	var w writev2.Request
	require.NoError(t, w.Unmarshal(decompress(t, r)))
	b := labels.NewScratchBuilder(0)
	var out []decoded
	for _, ts := range w.Timeseries {
		lbls, err := ts.ToLabels(&b, w.Symbols)
		require.NoError(t, err)
		meta, err := ts.ToMetadata(w.Symbols)
		require.NoError(t, err)
		require.NotEqual(t, model.MetricTypeUnknown, meta.Type)
		d := decoded{labels: lbls.String(), help: meta.Help}
		require.Equal(t, 1, len(ts.Samples)+len(ts.Histograms))
		for _, s := range ts.Samples {
			d.t, d.v = s.Timestamp, s.Value
		}
		for _, h := range ts.Histograms {
			d.t, d.h = h.Timestamp, h.ToIntHistogram()
		}
		out = append(out, d)
	}
	return out
}

func TestEncodeRoundTrip(t *testing.T) {
	fleet := newTestFleet(2*SeriesPerTarget, "a")
	f := func(p Protocol, decode func(*testing.T, Request) []decoded, withHelp bool) {
		t.Helper()
		enc := NewEncoder(p)
		// Twice, and the second request is the shorter one: buffers are reused.
		for _, n := range []int{fleet.Len(), fleet.Len() - 100} {
			samples := fleet.Scrape(nil, fleetStart.Add(time.Hour))[:n]
			r, err := enc.Encode(samples)
			require.NoError(t, err)
			require.Equal(t, n, r.Samples)
			got := decode(t, r)
			require.Len(t, got, n)
			for i, s := range samples {
				want := decoded{labels: s.Series.Labels.String(), t: s.T, v: s.V, h: s.H}
				if withHelp {
					want.help = s.Series.Family.Help
				}
				if want.h != nil {
					require.True(t, want.h.Equals(got[i].h), "histogram of %s", want.labels)
					want.h, got[i].h = nil, nil
				}
				require.Equal(t, want, got[i])
			}
		}
	}
	f(V1, decodeV1, false)
	f(V2, decodeV2, true)
}

func TestEncodeMetadata(t *testing.T) {
	families := newTestFleet(1, "a").Families()

	_, ok, err := NewEncoder(V2).Metadata(families)
	require.NoError(t, err)
	require.False(t, ok, "remote write 2.0 has no requests of metadata alone")

	r, ok, err := NewEncoder(V1).Metadata(families)
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, r.Samples)
	var w prompb.WriteRequest
	require.NoError(t, w.Unmarshal(decompress(t, r)))
	require.Empty(t, w.Timeseries)
	require.Len(t, w.Metadata, len(families))
	for i, f := range families {
		require.Equal(t, f.Name, w.Metadata[i].MetricFamilyName)
		require.Equal(t, f.Help, w.Metadata[i].Help)
		require.Equal(t, prompb.FromMetadataType(f.Type), w.Metadata[i].Type)
	}
}

func TestBuildLoad(t *testing.T) {
	const ticks, warmup, connections, batch = 3, 2, 4, 150
	end := fleetStart.Add(time.Hour)
	fleet := NewFleet(FleetConfig{Series: 1001, Start: fleetStart})
	load, err := BuildLoad(LoadConfig{
		Fleet: fleet, Ticks: ticks, Warmup: warmup, Interval: 15 * time.Second, End: end,
		Protocol: V1, Batch: batch, Connections: connections,
	})
	require.NoError(t, err)

	total := 0
	newest := map[string]int64{}
	connectionOf := map[string]int{}
	for phase, perConnection := range [][][]Request{load.Warmup, load.Timed} {
		require.Len(t, perConnection, connections)
		for c, requests := range perConnection {
			for i, r := range requests {
				if i < len(requests)-1 {
					require.Equal(t, batch, r.Samples, "phase %d connection %d request %d is not full", phase, c, i)
				}
				for _, d := range decodeV1(t, r) {
					require.Greater(t, d.t, newest[d.labels], "samples of a series are in order")
					newest[d.labels] = d.t
					if other, ok := connectionOf[d.labels]; ok {
						require.Equal(t, other, c, "a series stays on its connection")
					}
					connectionOf[d.labels] = c
					total++
				}
			}
		}
	}
	require.Equal(t, (ticks+warmup)*fleet.Len(), total)
	require.Len(t, newest, fleet.Len())
	for series, last := range newest {
		require.Equal(t, end.UnixMilli(), last, series)
	}
}

func BenchmarkEncode(b *testing.B) {
	samples := newTestFleet(8*SeriesPerTarget, "a").Scrape(nil, fleetStart.Add(time.Hour))
	for _, p := range []Protocol{V1, V2} {
		b.Run("protocol="+string(p), func(b *testing.B) {
			enc := NewEncoder(p)
			b.ReportAllocs()
			for b.Loop() {
				r, err := enc.Encode(samples)
				require.NoError(b, err)
				b.ReportMetric(float64(len(r.Body))/float64(r.Samples), "bytes/sample")
			}
		})
	}
}
