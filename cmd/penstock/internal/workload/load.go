// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// LoadConfig describes a load that is encoded ahead of time.
type LoadConfig struct {
	Fleet *Fleet
	// Ticks is the number of scrapes of the whole fleet; Warmup ticks go before
	// them. The receiver creates every series in the first of all ticks.
	Ticks, Warmup int
	// Interval is the time between two ticks; the last one is at End.
	Interval time.Duration
	End      time.Time

	Protocol    Protocol
	Batch       int // samples per request
	Connections int
}

// Load is a sequence of requests per connection. A series stays on one
// connection, so its samples arrive in order while connections run in parallel.
type Load struct {
	Warmup, Timed [][]Request
}

// BuildLoad encodes and compresses every request of the load.
func BuildLoad(cfg LoadConfig) (*Load, error) {
	load := &Load{
		Warmup: make([][]Request, cfg.Connections),
		Timed:  make([][]Request, cfg.Connections),
	}
	first := cfg.End.Add(-time.Duration(cfg.Warmup+cfg.Ticks-1) * cfg.Interval)
	start := first.Add(time.Duration(cfg.Warmup) * cfg.Interval)
	var g errgroup.Group
	for c := range cfg.Connections {
		g.Go(func() (err error) {
			if load.Warmup[c], err = cfg.requests(c, first, cfg.Warmup); err != nil {
				return fmt.Errorf("build warm-up: %w", err)
			}
			load.Timed[c], err = cfg.requests(c, start, cfg.Ticks)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return load, nil
}

// requests encodes what connection c sends in the given number of ticks. Series
// are dealt to connections by turns, as Prometheus deals them to its shards. A
// request runs on into the next tick, so that all but the last are full.
func (cfg LoadConfig) requests(c int, start time.Time, ticks int) ([]Request, error) {
	enc := NewEncoder(cfg.Protocol)
	var out []Request
	batch := make([]Sample, 0, cfg.Batch)
	flush := func() error {
		r, err := enc.Encode(batch)
		out, batch = append(out, r), batch[:0]
		return err
	}
	for tick := range ticks {
		at := start.Add(time.Duration(tick) * cfg.Interval)
		for i := c; i < cfg.Fleet.Len(); i += cfg.Connections {
			batch = append(batch, cfg.Fleet.sample(i, at))
			if len(batch) < cfg.Batch {
				continue
			}
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
