// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/storage"
)

// Reading is what a query wants to see of a downsampled series.
type Reading uint8

// The readings. A PromQL function is exact over one of them, or close to it.
const (
	ReadAverage  Reading = iota // Sum by count: what stands best for a value somewhere in the window.
	ReadWeighted                // The average, as often as there were samples.
	ReadCount                   // As many samples as there were.
	ReadSum
	ReadMin
	ReadMax
	ReadCounter // A counter that never falls, and grows by what it grew.
)

// ReadingFor returns what a selector's hints ask for. Nil hints ask for the average.
//
// A sum or count stands for a window, so that they can only be added up over a range: a subquery would take them for
// values at moments. mixed says that samples of several resolutions answer the query: then a mean over a range needs windows to
// have their weight beside raw samples, which costs as many samples as raw ones would be. Minimum and maximum are read for the aggregations over series as well, as Thanos does it.
func ReadingFor(hints *storage.SelectHints, mixed bool) Reading {
	if hints == nil {
		return ReadAverage
	}
	switch hints.Func {
	case "rate", "increase", "irate", "resets":
		return ReadCounter
	case "min", "min_over_time", "ts_of_min_over_time":
		return ReadMin
	case "max", "max_over_time", "ts_of_max_over_time":
		return ReadMax
	case "sum_over_time":
		if hints.Range > 0 {
			return ReadSum
		}
	case "count_over_time":
		if hints.Range > 0 {
			return ReadCount
		}
	case "avg_over_time", "stddev_over_time", "stdvar_over_time", "quantile_over_time", "mad_over_time":
		if hints.Range > 0 && mixed {
			return ReadWeighted
		}
	}
	return ReadAverage
}

// Limit says how coarse the samples may be that answer a query.
type Limit struct {
	Max    int64 // ms between samples. 0 wants raw ones.
	Strict bool  // Nothing coarser is read where there is nothing else.
	// Joined is since when, in ms, raw samples of others are joined to what is read. 0: they are not. Where there are resets
	// in it, the counter of a downsampled chunk can be told only at the chunk's ends, so that none may be cut there.
	Joined int64
}

// For narrows the limit to what the hints of one selector can bear: a function over a range needs a sample in each range,
// and one that compares samples needs two.
func (l Limit) For(hints *storage.SelectHints) Limit {
	if hints == nil || hints.Range <= 0 {
		return l
	}
	needed := hints.Range
	switch hints.Func {
	case "rate", "increase", "irate", "resets", "changes", "delta", "idelta", "deriv", "predict_linear", "double_exponential_smoothing":
		needed /= 2
	}
	l.Max = min(l.Max, needed)
	return l
}

// Bearable returns how far apart, in ms, samples may be for the hints of a selector to find enough of them, as For has it.
func Bearable(hints *storage.SelectHints) int64 { return Limit{Max: math.MaxInt64}.For(hints).Max }

// Lookback returns for how long a sample stands for the series, when samples may be as far apart as the limit says.
func (l Limit) Lookback(byDefault time.Duration) time.Duration {
	for _, resolution := range []int64{OneHour, FiveMinutes} {
		if l.Max >= resolution {
			return max(byDefault, time.Duration(resolution)*time.Millisecond)
		}
	}
	return byDefault
}

// ParseLimit reads the parameter max_source_resolution: a duration, a number of seconds, or "auto", which is a fifth of the
// step. Without a step, in an instant query, "auto" is raw. Empty is no wish: the finest that there is at each time.
func ParseLimit(text string, step time.Duration) (Limit, error) {
	switch text {
	case "":
		return Limit{}, nil
	case "auto":
		return Limit{Max: step.Milliseconds() / 5}, nil
	}
	d, err := ParseDuration(text)
	if err != nil || d < 0 {
		return Limit{}, fmt.Errorf("%.80q is neither a duration nor \"auto\"", text)
	}
	return Limit{Max: d.Milliseconds(), Strict: true}, nil
}

// ParseDuration reads a duration as Prometheus' API has it: as such, or a number of seconds.
func ParseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || math.Abs(seconds) > math.MaxInt64/float64(time.Second) {
			return 0, strconv.ErrRange
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	return time.Duration(d), err
}

type limitKey struct{}

// WithLimit returns a context whose queries keep to the limit. Without one the finest samples are read.
func WithLimit(ctx context.Context, l Limit) context.Context {
	return context.WithValue(ctx, limitKey{}, l)
}

type coarseKey struct{}

// coarse is what was answered with downsampled samples under one context.
type coarse struct {
	mu     sync.Mutex
	pieces []Piece
}

// WithJoined returns a context whose queries know that their answer is joined to raw samples from t, in ms, on. After they have
// begun, alone says for which times, as closed intervals in order, downsampled samples answer. Raw ones beside them would
// count twice.
func WithJoined(ctx context.Context, t int64) (_ context.Context, alone func() [][2]int64) {
	l, c := LimitFrom(ctx), &coarse{}
	l.Joined = max(1, t)
	return context.WithValue(WithLimit(ctx, l), coarseKey{}, c), func() [][2]int64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		var all [][2]int64
		for _, p := range Union(c.pieces) {
			all = append(all, [2]int64{p.Mint, p.Maxt})
		}
		return all
	}
}

// ReportCoarse tells whoever made the context with WithJoined for which times downsampled samples answer.
func ReportCoarse(ctx context.Context, pieces []Piece) {
	if c, ok := ctx.Value(coarseKey{}).(*coarse); ok {
		c.mu.Lock()
		c.pieces = append(c.pieces, pieces...)
		c.mu.Unlock()
	}
}

// LimitFrom returns the limit of ctx, and the zero one if it has none.
func LimitFrom(ctx context.Context) Limit {
	l, _ := ctx.Value(limitKey{}).(Limit)
	return l
}
