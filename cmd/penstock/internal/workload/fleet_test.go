// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

var fleetStart = time.Unix(1_700_000_000, 0)

func newTestFleet(series int, replica string) *Fleet {
	return NewFleet(FleetConfig{
		Series:   series,
		Scraped:  true,
		External: labels.FromStrings("cluster", "eu-west-1", "replica", replica),
		Start:    fleetStart,
	})
}

func TestFleetHasTheSeriesAskedFor(t *testing.T) {
	scraped := 1 + len(paths)
	f := func(series, want int) {
		t.Helper()
		fleet := newTestFleet(series, "a")
		require.Equal(t, want, fleet.Len())
		seen := map[string]bool{}
		for _, s := range fleet.Series() {
			key := s.Labels.String()
			require.False(t, seen[key], "series %s appears twice", key)
			seen[key] = true
		}
	}
	f(0, 0)
	f(1, 1)
	f(SeriesPerTarget, SeriesPerTarget+scraped)
	f(SeriesPerTarget+1, SeriesPerTarget+1+scraped)
	f(4*SeriesPerTarget, 4*(SeriesPerTarget+scraped))
}

// The cost of a sample depends on its labels, so figures mean something only
// while the labels are those of real pods: 9 to 11 of them, about 240 bytes.
func TestFleetLabelsAreOfOrdinarySize(t *testing.T) {
	bytes := 0
	fleet := NewFleet(FleetConfig{
		Series:   40 * SeriesPerTarget,
		External: labels.FromStrings("cluster", "eu-west-1", "replica", "a"),
		Start:    fleetStart,
	})
	for _, s := range fleet.Series() {
		require.GreaterOrEqual(t, s.Labels.Len(), 9)
		require.LessOrEqual(t, s.Labels.Len(), 11)
		s.Labels.Range(func(l labels.Label) { bytes += len(l.Name) + len(l.Value) })
	}
	perSeries := bytes / fleet.Len()
	require.Greater(t, perSeries, 200)
	require.Less(t, perSeries, 280)
}

func TestFleetOfAPairIsTheSameTargets(t *testing.T) {
	at := fleetStart.Add(time.Hour)
	a := newTestFleet(2*SeriesPerTarget, "a").Scrape(nil, at)
	b := newTestFleet(2*SeriesPerTarget, "b").Scrape(nil, at)
	require.Len(t, b, len(a))
	for i := range a {
		without := func(s Sample) string {
			return labels.NewBuilder(s.Series.Labels).Del("replica").Labels().String()
		}
		require.Equal(t, without(a[i]), without(b[i]))
		require.NotEqual(t, a[i].Series.Labels.Get("replica"), b[i].Series.Labels.Get("replica"))
		require.Equal(t, a[i].V, b[i].V)
		require.Equal(t, a[i].H, b[i].H)
	}
}

// A counter that fell would be a reset, and a histogram bucket above a wider
// one would be nonsense; neither may come from the workload.
func TestFleetCountersRiseTogether(t *testing.T) {
	fleet := newTestFleet(8*SeriesPerTarget, "a")
	last := fleet.Scrape(nil, fleetStart)
	moved := 0
	for tick := 1; tick <= 200; tick++ {
		now := fleet.Scrape(nil, fleetStart.Add(time.Duration(tick)*5*time.Second))
		for i, s := range now {
			name := s.Series.Labels.Get(model.MetricNameLabel)
			switch {
			case s.H != nil:
				require.NoError(t, s.H.Validate())
				require.False(t, s.H.ToFloat(nil).DetectReset(last[i].H.ToFloat(nil)), "%s is reset at tick %d", s.Series.Labels, tick)
			case s.Series.Family.Type != model.MetricTypeGauge:
				require.GreaterOrEqual(t, s.V, last[i].V, "%s falls at tick %d", s.Series.Labels, tick)
			}
			if strings.HasSuffix(name, "_bucket") && s.Series.Labels.Get("le") != bucketLabels[0] {
				require.GreaterOrEqual(t, s.V-last[i].V, now[i-1].V-last[i-1].V, "%s grows by less than the narrower bucket", s.Series.Labels)
			}
			if s.V != last[i].V {
				moved++
			}
		}
		last = now
	}
	require.Greater(t, moved, 100*fleet.Len()/5, "hardly anything moves")
}
