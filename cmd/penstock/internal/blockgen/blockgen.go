// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package blockgen makes blocks whose every sample follows from a formula, so that whatever compaction, downsampling and
// queries make of them can be checked without a second copy of the data.
//
// Of N series every second one is a counter and every second a gauge. Series i at time t (ms, a multiple of the interval):
//
//	loadgen_counter_total{instance="instance-0000006",job="job-3"}   slope(i) * seconds since the last reset,
//	                                                                 slope(i) = 1 + (i/2) mod 10
//	loadgen_gauge{instance="instance-0000007",job="job-3"}           i + minute of the hour
//
// with integer division, job-J for J = (i/2) mod 10, and resets at the multiples of Config.Reset since 1970. So the rate of a
// counter is slope(i) wherever there is no reset, and avg_over_time(loadgen_gauge[1h]) is i + 29.5.
package blockgen

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	jobs = 10
	// Ranges of blocks in Thanos' and Penstock's compaction, in ms, by level.
	hour = int64(3600_000)
)

// levels are the ranges that compaction makes, the first one level 1.
var levels = []int64{2 * hour, 8 * hour, 48 * hour, 14 * 24 * hour}

// Config says what is made. Times are ms.
type Config struct {
	Series   int
	From     int64
	Until    int64  // Exclusive.
	Interval int64  // Between two samples of a series, all of which are multiples of it.
	Range    int64  // Of a block; blocks begin at its multiples.
	Reset    int64  // Between two resets of the counters. 0: none since 1970.
	Copy     string // Makes other ULIDs for the same samples, as another member would.
}

// Check says what cannot be.
func (c Config) Check() error {
	switch {
	case c.Series <= 0:
		return errors.New("the number of series must be above 0")
	case c.Interval <= 0 || c.Range <= 0:
		return errors.New("the interval and the range of a block must be above 0")
	case c.From >= c.Until:
		return errors.New("the time range is empty")
	case c.From < 0:
		return errors.New("the time range begins before 1970")
	case c.Reset < 0 || (c.Reset > 0 && c.Reset < c.Interval):
		return errors.New("counters cannot be reset more often than they have samples")
	case c.Range%c.Interval != 0:
		return fmt.Errorf("the range of a block, %s, is not a multiple of the interval, %s", ms(c.Range), ms(c.Interval))
	}
	return nil
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// Span is the time of one block, ms, half-open.
type Span struct{ From, Until int64 }

// Spans returns the times of the blocks, in order. The first and the last may be shorter than the others; those without a
// sample are left out.
func (c Config) Spans() []Span { return c.spans(Span{c.From, c.Until}, c.Range) }

func (c Config) spans(in Span, length int64) []Span {
	var out []Span
	for from := in.From - in.From%length; from < in.Until; from += length {
		s := Span{max(from, in.From), min(from+length, in.Until)}
		if c.first(s) < s.Until {
			out = append(out, s)
		}
	}
	return out
}

// first returns the time of the first sample at or after the begin of a span.
func (c Config) first(s Span) int64 { return (s.From + c.Interval - 1) / c.Interval * c.Interval }

// Labels returns those of series i.
func (c Config) Labels(i int) labels.Labels {
	name := "loadgen_counter_total"
	if i%2 == 1 {
		name = "loadgen_gauge"
	}
	return labels.FromStrings("__name__", name, "instance", fmt.Sprintf("instance-%07d", i), "job", fmt.Sprintf("job-%d", i/2%jobs))
}

// Value returns the value of series i at time t.
func (c Config) Value(i int, t int64) float64 {
	if i%2 == 1 {
		return float64(int64(i) + t/60_000%60)
	}
	if c.Reset > 0 {
		t %= c.Reset
	}
	return float64(1+i/2%jobs) * (float64(t) / 1000)
}

// Meta returns the description of the block of a span, without counts. The ULID follows from Config, so that the same call
// makes the same block; the sources of a long block are the 2h blocks that another call would make.
func (c Config) Meta(s Span) tsdb.BlockMeta {
	m := tsdb.BlockMeta{ULID: c.id(s), MinTime: s.From, MaxTime: s.Until}
	m.Compaction.Level = 1
	for i, length := range levels {
		if c.Range >= length {
			m.Compaction.Level = i + 1
		}
	}
	if m.Compaction.Level == 1 {
		m.Compaction.Sources = []ulid.ULID{m.ULID}
		return m
	}
	for _, source := range c.spans(s, levels[0]) {
		m.Compaction.Sources = append(m.Compaction.Sources, c.id(source))
	}
	return m
}

func (c Config) id(s Span) ulid.ULID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d %q %d %d", c.Series, c.Interval, c.Reset, c.Copy, s.From, s.Until))
	var id ulid.ULID
	_ = id.SetTime(uint64(s.Until)) // Its only error is a time after the year 10889.
	copy(id[6:], sum[:])
	return id
}
