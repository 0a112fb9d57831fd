// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"golang.org/x/sync/errgroup"
)

const (
	scrapeInterval = 15 * time.Second
	blockRange     = 2 * time.Hour
	// Of the data: a block, and as much in the head.
	blockLength, headLength = blockRange, blockRange

	jobs    = 100
	buckets = 10 // of a histogram, +Inf included

	// A request has so many samples of so many series: labels cost what they cost once in five minutes, because writing
	// is not what is measured.
	requestSeries, requestTicks = 200, 20
	connections                 = 2
)

// data is what the servers are given: a counter `m` and a histogram `h_bucket`, of as many series each.
type data struct {
	series   int
	replicas []string  // of the pair; none is a lone Prometheus without external labels
	end      time.Time // of the last scrape; a multiple of the range of a block
}

// labels of the i-th series as a replica sends it.
func (d data) labels(i int, replica string) labels.Labels {
	b := labels.NewScratchBuilder(12)
	job := i % jobs
	b.Add("cluster", "eu-west-1-production")
	b.Add("instance", fmt.Sprintf("10.%d.%d.%d:9100", job, i/jobs/buckets/250, i/jobs/buckets%250))
	b.Add("job", fmt.Sprintf("service-%02d", job))
	b.Add("namespace", fmt.Sprintf("team-%d", job%7))
	b.Add("pod", fmt.Sprintf("service-%02d-7d9f8c6b5-%05x", job, i/jobs/buckets))
	if i < d.series {
		b.Add("__name__", "m")
		b.Add("handler", fmt.Sprintf("/api/v1/%d", i/jobs%buckets))
	} else {
		b.Add("__name__", "h_bucket")
		b.Add("le", [buckets]string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"}[i/jobs%buckets])
	}
	if replica != "" {
		b.Add("prometheus_replica", replica)
	}
	b.Sort()
	return b.Labels()
}

// value of the i-th series at a time: counters with steps of their own that change, and buckets that are cumulative.
func (d data) value(i int, t time.Time) float64 {
	tick := t.Unix() / int64(scrapeInterval/time.Second)
	rate := int64(i/jobs%buckets + 1)
	return float64((tick-90_000_000)*rate*3 + (tick*7919+int64(i))%11%rate)
}

func (d data) senders() []string {
	if len(d.replicas) == 0 {
		return []string{""}
	}
	return d.replicas
}

// offset is when in the interval a replica scrapes.
func offset(replica int) time.Duration { return time.Duration(replica) * 5 * time.Second }

// writeBlock makes the block and returns the directory that it is in.
func (d data) writeBlock(ctx context.Context, dir string) (err error) {
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, blockRange.Milliseconds())
	if err != nil {
		return fmt.Errorf("open a block: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	type target struct {
		labels labels.Labels
		ref    storage.SeriesRef
	}
	targets := make([][]target, len(d.senders()))
	for r, replica := range d.senders() {
		for i := range 2 * d.series {
			targets[r] = append(targets[r], target{labels: d.labels(i, replica)})
		}
	}
	from := d.end.Add(-headLength - blockLength)
	for scrape := from; scrape.Before(from.Add(blockLength)); scrape = scrape.Add(scrapeInterval) {
		app := w.Appender(ctx)
		for r := range targets {
			t := scrape.Add(offset(r))
			for i := range targets[r] {
				s := &targets[r][i]
				if s.ref, err = app.Append(s.ref, s.labels, t.UnixMilli(), d.value(i, t)); err != nil {
					return fmt.Errorf("append to the block: %w", errors.Join(err, app.Rollback()))
				}
			}
		}
		if err := app.Commit(); err != nil {
			return fmt.Errorf("append to the block: %w", err)
		}
	}
	if _, err := w.Flush(ctx); err != nil {
		return fmt.Errorf("write the block: %w", err)
	}
	return nil
}

// send gives a server what is in the head.
func (d data) send(ctx context.Context, urls []string) error {
	const requestLength = requestTicks * scrapeInterval
	for from := d.end.Add(-headLength); from.Before(d.end); from = from.Add(requestLength) {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(connections)
		for r, replica := range d.senders() {
			for first := 0; first < 2*d.series; first += requestSeries {
				url := urls[first/requestSeries%len(urls)]
				g.Go(func() error { return post(ctx, url, d.request(first, replica, from.Add(offset(r)))) })
			}
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// request has requestTicks samples of requestSeries series.
func (d data) request(first int, replica string, from time.Time) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for i := first; i < min(first+requestSeries, 2*d.series); i++ {
		s := prompb.TimeSeries{Labels: prompb.FromLabels(d.labels(i, replica), nil), Samples: make([]prompb.Sample, requestTicks)}
		for n := range s.Samples {
			t := from.Add(time.Duration(n) * scrapeInterval)
			s.Samples[n] = prompb.Sample{Timestamp: t.UnixMilli(), Value: d.value(i, t)}
		}
		req.Timeseries = append(req.Timeseries, s)
	}
	return req
}

func post(ctx context.Context, url string, msg *prompb.WriteRequest) error {
	raw, err := msg.Marshal()
	if err != nil {
		return fmt.Errorf("encode a write request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return errors.Join(err, fmt.Errorf("write to %s: status %d: %.500s", url, resp.StatusCode, body))
	}
	return nil
}
