// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"cmp"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// clip returns a copy of the points of a matrix at some steps. Nothing of the copy but the labels, which nobody changes, and the
// histograms are the former's memory, because that goes back to the engine. Series without points are left out.
func clip(m promql.Matrix, s steps) promql.Matrix {
	out := make(promql.Matrix, 0, len(m))
	for _, series := range m {
		floats, histograms := between(series.Floats, s), betweenHistograms(series.Histograms, s)
		if len(floats)+len(histograms) > 0 {
			out = append(out, promql.Series{Metric: series.Metric, Floats: slices.Clone(floats), Histograms: slices.Clone(histograms)})
		}
	}
	return slices.Clip(out)
}

// between returns the points at the steps, in place.
func between(points []promql.FPoint, s steps) []promql.FPoint {
	from := sort.Search(len(points), func(i int) bool { return points[i].T >= s.first })
	to := sort.Search(len(points), func(i int) bool { return points[i].T > s.last })
	return points[from:max(from, to)]
}

func betweenHistograms(points []promql.HPoint, s steps) []promql.HPoint {
	from := sort.Search(len(points), func(i int) bool { return points[i].T >= s.first })
	to := sort.Search(len(points), func(i int) bool { return points[i].T > s.last })
	return points[from:max(from, to)]
}

// part is a matrix of which some steps count. Its series are in the order of their labels.
type part struct {
	matrix promql.Matrix
	steps  steps
}

// join makes one matrix of parts that follow each other in time. All points are copied, so that it is the caller's.
func join(parts []part) promql.Matrix {
	type place struct{ part, series int }
	var places []place
	for p := range parts {
		for i := range parts[p].matrix {
			places = append(places, place{p, i})
		}
	}
	metric := func(p place) labels.Labels { return parts[p.part].matrix[p.series].Metric }
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(labels.Compare(metric(a), metric(b)), cmp.Compare(a.part, b.part))
	})
	out := promql.Matrix{}
	for len(places) > 0 {
		n := 1
		for n < len(places) && labels.Equal(metric(places[n]), metric(places[0])) {
			n++
		}
		s := promql.Series{Metric: metric(places[0])}
		floats, histograms := 0, 0
		for _, p := range places[:n] {
			src := parts[p.part]
			floats += len(between(src.matrix[p.series].Floats, src.steps))
			histograms += len(betweenHistograms(src.matrix[p.series].Histograms, src.steps))
		}
		if floats > 0 {
			s.Floats = make([]promql.FPoint, 0, floats)
		}
		if histograms > 0 {
			s.Histograms = make([]promql.HPoint, 0, histograms)
		}
		for _, p := range places[:n] {
			src := parts[p.part]
			s.Floats = append(s.Floats, between(src.matrix[p.series].Floats, src.steps)...)
			s.Histograms = append(s.Histograms, betweenHistograms(src.matrix[p.series].Histograms, src.steps)...)
		}
		if floats+histograms > 0 {
			out = append(out, s)
		}
		places = places[n:]
	}
	return out
}

// bytesOf is what a matrix takes in memory.
func bytesOf(m promql.Matrix) int64 {
	const (
		seriesBytes = 80 // A promql.Series.
		pointBytes  = 16 // Of either kind.
	)
	n := int64(0)
	for _, s := range m {
		n += seriesBytes + int64(s.Metric.ByteSize()) + pointBytes*int64(len(s.Floats)+len(s.Histograms)) // #nosec G115 -- labels are small.
		for _, p := range s.Histograms {
			n += int64(p.H.Size())
		}
	}
	return n
}

// samplesOf counts as the engine does against its limit of samples.
func samplesOf(m promql.Matrix) int {
	n := 0
	for _, s := range m {
		n += len(s.Floats)
		for _, p := range s.Histograms {
			n += (p.H.Size() + 8) / 16
		}
	}
	return n
}
