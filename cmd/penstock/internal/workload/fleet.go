// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// SeriesPerTarget is the number of float series of one target. With the
// labels that a Kubernetes pod gets it is the size of an ordinary small service.
const SeriesPerTarget = 250

// FleetConfig says which targets there are and who scrapes them.
type FleetConfig struct {
	// Series is the number of float series. The last target is cut short where
	// it is not a multiple of SeriesPerTarget.
	Series int
	// Scraped adds to each whole target what a Prometheus with native histograms
	// on would also store: `up` and one native histogram per path.
	Scraped bool
	// External are the external labels of the scraping server. Fleets that differ
	// in nothing else are the same targets seen by different servers.
	External labels.Labels
	// Start is when all targets started; their counters were 0 then.
	Start time.Time
}

// Family is the metadata that all series of one metric share.
type Family struct {
	Name string
	Type model.MetricType
	Help string
}

// Series is one time series of a fleet. It never changes.
type Series struct {
	Labels labels.Labels
	Family *Family

	value     func(seconds float64) float64
	histogram func(seconds float64) *histogram.Histogram // nil for a float series
}

// Sample is the value of one series at one moment: H where it is not nil, else V.
type Sample struct {
	Series *Series
	T      int64 // milliseconds since the epoch
	V      float64
	H      *histogram.Histogram
}

// Fleet is a set of synthetic targets. It is immutable and so safe for
// concurrent use.
type Fleet struct {
	series   []Series
	families []*Family
	start    time.Time
}

// NewFleet lays out the series of all targets.
func NewFleet(cfg FleetConfig) *Fleet {
	f := &Fleet{start: cfg.Start, series: make([]Series, 0, cfg.Series)}
	catalog := newCatalog()
	f.families = catalog.floats
	if cfg.Scraped {
		f.families = append(f.families, catalog.scraped...)
	}
	for n := 0; n*SeriesPerTarget < cfg.Series; n++ {
		t := newTarget(n, cfg.External, catalog)
		kept := min(cfg.Series-n*SeriesPerTarget, SeriesPerTarget)
		f.series = append(f.series, t.floats()[:kept]...)
		if cfg.Scraped && kept == SeriesPerTarget {
			f.series = append(f.series, t.scraped()...)
		}
	}
	return f
}

// Len is the number of samples that a scrape of the whole fleet yields.
func (f *Fleet) Len() int { return len(f.series) }

// Series returns all series, in scrape order. Do not modify the slice.
func (f *Fleet) Series() []Series { return f.series }

// Families returns the metadata of all metrics. Do not modify the slice.
func (f *Fleet) Families() []*Family { return f.families }

// Scrape appends to dst the samples of all series at time t.
func (f *Fleet) Scrape(dst []Sample, t time.Time) []Sample {
	for i := range f.series {
		dst = append(dst, f.sample(i, t))
	}
	return dst
}

func (f *Fleet) sample(i int, t time.Time) Sample {
	s := &f.series[i]
	seconds := t.Sub(f.start).Seconds()
	if s.histogram != nil {
		return Sample{Series: s, T: t.UnixMilli(), H: s.histogram(seconds)}
	}
	return Sample{Series: s, T: t.UnixMilli(), V: s.value(seconds)}
}
