// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"math"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// From seriesShare of the limit in use no series are made: they stay for hours.
	// From writeShare nothing is written: each request takes its own size a few times.
	seriesShare, writeShare = 0.80, 0.90
	// sampleEvery is how often memory is looked at, which takes microseconds. What a
	// node can take in meanwhile fits into what the runtime's limit leaves free.
	sampleEvery = 250 * time.Millisecond
	// collectEvery bounds how long writes are refused for memory that is free already:
	// without work to do the runtime collects every two minutes only.
	collectEvery = 10 * time.Second
)

// The answers while memory is short. A retry may find it free.
var (
	ErrNoSeries = errors.New("this node is short of memory and makes no new series")
	ErrNoWrites = errors.New("this node is short of memory")
)

// Usage is what the runtime says of memory.
type Usage struct {
	// Bytes are in use: live at the end of the last collection, and not of the heap.
	Bytes int64
	// Collections have been made since the process started.
	Collections uint64
}

// Config configures a Guard.
type Config struct {
	// LimitBytes is the limit of the runtime. Zero or less, or the largest number:
	// there is none, and nothing is ever refused.
	LimitBytes int64
	// Read returns the usage; nil asks the runtime.
	Read func() Usage
}

// Guard says what may be taken while memory is short. Run looks at it; asking is one
// atomic load. Safe for concurrent use.
type Guard struct {
	cfg     Config
	used    atomic.Int64
	refused map[error]prometheus.Counter
}

// NewGuard returns a Guard that admits everything until Run has looked.
func NewGuard(cfg Config, reg prometheus.Registerer) *Guard {
	if cfg.LimitBytes <= 0 {
		cfg.LimitBytes = math.MaxInt64
	}
	if cfg.Read == nil {
		cfg.Read = readRuntime
	}
	g := &Guard{cfg: cfg}
	f := promauto.With(reg)
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "penstock_memory_refused_total",
		Help: "What was refused because memory was short: write requests, or samples of new series.",
	}, []string{"what"})
	g.refused = map[error]prometheus.Counter{
		ErrNoSeries: refused.WithLabelValues("new_series"),
		ErrNoWrites: refused.WithLabelValues("write"),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_memory_used_bytes",
		Help: "Memory in use, without garbage. New series are refused above 80 % of the limit, writes above 90 %.",
	}, func() float64 { return float64(g.used.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_memory_limit_bytes",
		Help: "Memory limit of the Go runtime, from GOMEMLIMIT or the cgroup.",
	}, func() float64 { return float64(cfg.LimitBytes) })
	return g
}

// Run looks at memory until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var collections uint64
	collected := time.Now()
	for {
		if u := g.look(); u.Collections != collections {
			collections, collected = u.Collections, time.Now()
		} else if g.over(seriesShare) && time.Since(collected) > collectEvery {
			runtime.GC()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (g *Guard) look() Usage {
	u := g.cfg.Read()
	g.used.Store(u.Bytes)
	return u
}

// Usage returns what is in use now, and the limit; 0 is none.
func (g *Guard) Usage() (used Usage, limit int64) {
	if g.cfg.LimitBytes == math.MaxInt64 {
		return Usage{}, 0
	}
	return g.cfg.Read(), g.cfg.LimitBytes
}

// AdmitSeries returns ErrNoSeries while no series may be made.
func (g *Guard) AdmitSeries() error { return g.admit(seriesShare, ErrNoSeries) }

// AdmitWrite returns ErrNoWrites while nothing may be written.
func (g *Guard) AdmitWrite() error { return g.admit(writeShare, ErrNoWrites) }

func (g *Guard) admit(share float64, refusal error) error {
	if !g.over(share) {
		return nil
	}
	g.refused[refusal].Inc()
	return refusal
}

func (g *Guard) over(share float64) bool {
	return float64(g.used.Load()) >= share*float64(g.cfg.LimitBytes)
}

// readRuntime asks the Go runtime, without stopping it. What the heap holds beside
// live objects is garbage or free, and is there for the taking.
func readRuntime() Usage {
	const live, objects, cycles, total = 0, 1, 2, 3
	samples := []metrics.Sample{
		live:    {Name: "/gc/heap/live:bytes"},
		objects: {Name: "/memory/classes/heap/objects:bytes"},
		cycles:  {Name: "/gc/cycles/total:gc-cycles"},
		total:   {Name: "/memory/classes/total:bytes"},
		4:       {Name: "/memory/classes/heap/free:bytes"},
		5:       {Name: "/memory/classes/heap/released:bytes"},
		6:       {Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(samples)
	outside := samples[total].Value.Uint64() - samples[objects].Value.Uint64()
	for _, s := range samples[4:] {
		outside -= s.Value.Uint64()
	}
	return Usage{
		Bytes:       int64(samples[live].Value.Uint64() + outside),
		Collections: samples[cycles].Value.Uint64(),
	}
}
