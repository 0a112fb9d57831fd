// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// A node on this machine that takes longer is stopped or drowning, and the
	// summary should say so rather than wait.
	demoPollTimeout = time.Second

	// A node's /metrics is some 100 KiB.
	demoMetricsBytesMax = 8 << 20
)

// Metrics of a node that the summary shows.
const (
	metricHeadSeries = "penstock_tsdb_head_series"
	metricAppended   = "penstock_tsdb_appended_samples_total"
	metricUploads    = "penstock_uploader_uploads_total"
	metricHints      = "penstock_hint_pending_records"
)

// demoNodeView is what the summary shows of one node. Figures that the node did
// not tell are NaN.
type demoNodeView struct {
	name, url string
	process   demoNodeState

	answers bool // the node answered this poll
	state   string
	ring    string // version, as the node computes it
	alive   int
	members int

	headSeries, appended, uploads, hints float64
}

// pollNode asks a node how it is. It never fails: what cannot be had is missing
// from the view.
func pollNode(ctx context.Context, client *http.Client, n *demoNode) demoNodeView {
	v := demoNodeView{
		name: n.addrs.name, url: n.addrs.url(), process: n.current(),
		headSeries: math.NaN(), appended: math.NaN(), uploads: math.NaN(), hints: math.NaN(),
	}
	if v.process.pid == 0 {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, demoPollTimeout)
	defer cancel()
	if status, err := fetchRing(ctx, v.url); err == nil {
		v.setRing(status)
	}
	if families, err := fetchMetrics(ctx, client, v.url); err == nil {
		v.headSeries = sumOf(families[metricHeadSeries])
		v.appended = sumOf(families[metricAppended])
		v.uploads = sumOf(families[metricUploads])
		v.hints = sumOf(families[metricHints])
	}
	return v
}

func (v *demoNodeView) setRing(status *ringStatus) {
	v.answers = true
	v.ring = status.Version
	for _, m := range status.Members {
		if m.Forgotten {
			continue
		}
		v.members++
		if m.Alive {
			v.alive++
		}
		if m.Name == status.Self {
			v.state = m.State
		}
	}
}

func fetchMetrics(ctx context.Context, client *http.Client, base string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s/metrics answered %s", base, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(io.LimitReader(resp.Body, demoMetricsBytesMax))
}

// sumOf adds up all series of a family; NaN when the node has none.
func sumOf(f *dto.MetricFamily) float64 {
	if len(f.GetMetric()) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, m := range f.GetMetric() {
		switch f.GetType() {
		case dto.MetricType_COUNTER:
			sum += m.GetCounter().GetValue()
		case dto.MetricType_GAUGE:
			sum += m.GetGauge().GetValue()
		default:
			sum += m.GetUntyped().GetValue()
		}
	}
	return sum
}
