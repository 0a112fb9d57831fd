// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxExamples are kept of what is wrong.
const maxExamples = 5

// Findings are the samples of a comparison. The zero value is that of nothing compared.
type Findings struct {
	Right      int // found with the value that was sent
	Acked      int // that had to be there
	Lost       int // acked and not found
	Wrong      int // found with another value
	Duplicated int // found more than once
	Invented   int // found though never sent, or though refused
	Examples   []string
}

// Faults is the number of samples that should not be as they are.
func (f Findings) Faults() int { return f.Lost + f.Wrong + f.Duplicated + f.Invented }

// Err is nil when there are no faults.
func (f Findings) Err() error {
	if f.Faults() == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", f, strings.Join(f.Examples, "; "))
}

func (f Findings) String() string {
	return fmt.Sprintf("%d of %d acknowledged samples lost, %d wrong, %d duplicated, %d invented (%d right)",
		f.Lost, f.Acked, f.Wrong, f.Duplicated, f.Invented, f.Right)
}

// Add sums up.
func (f *Findings) Add(o Findings) {
	f.Right += o.Right
	f.Acked += o.Acked
	f.Lost += o.Lost
	f.Wrong += o.Wrong
	f.Duplicated += o.Duplicated
	f.Invented += o.Invented
	for _, e := range o.Examples {
		f.example("%s", e)
	}
}

func (f *Findings) example(format string, args ...any) {
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// Found is one series of an answer.
type Found struct {
	Labels  map[string]string
	Samples []Sample // in the order of the answer
}

// Sample is one sample of an answer.
type Sample struct {
	Time  int64 // milliseconds
	Value float64
}

// Window are the ticks [From, To) of one shard, with what was known of them before and after the question. What was
// acked before must be in the answer; what was sent at all by the time of the answer may be.
type Window struct {
	Shard, From, To int
	Before, After   []Outcome // by tick, from From
}

// Compare finds what is wrong with an answer about a window.
func (p Plan) Compare(w Window, answer []Found) Findings {
	var f Findings
	seen := make([]int, p.Series*(w.To-w.From))
	for _, s := range answer {
		series, ok := p.seriesOf(w.Shard, s.Labels)
		if !ok {
			f.Invented += len(s.Samples)
			f.example("invented: series %v", s.Labels)
			continue
		}
		for _, sample := range s.Samples {
			tick, ok := p.Tick(sample.Time)
			if !ok || tick < w.From || tick >= w.To {
				f.Invented++
				f.example("invented: %v at %d", s.Labels, sample.Time)
				continue
			}
			p.compareSample(&f, w, series, tick, sample.Value)
			seen[series*(w.To-w.From)+tick-w.From]++
		}
	}
	for at, n := range seen {
		series, tick := at/(w.To-w.From), w.From+at%(w.To-w.From)
		if w.Before[tick-w.From] == Acked {
			f.Acked++
			if n == 0 {
				f.Lost++
				f.example("lost: shard %d series %d tick %d (%d)", w.Shard, series, tick, p.Time(tick))
			}
		}
		if n > 1 {
			f.Duplicated += n - 1
			f.example("duplicated: shard %d series %d tick %d (%d), %d times", w.Shard, series, tick, p.Time(tick), n)
		}
	}
	return f
}

func (p Plan) compareSample(f *Findings, w Window, series, tick int, v float64) {
	want := p.Value(w.Shard, series, tick)
	switch o := w.After[tick-w.From]; {
	case o == Unsent || o == Refused:
		f.Invented++
		f.example("invented: shard %d series %d tick %d (%d) has %v, its outcome is %d", w.Shard, series, tick, p.Time(tick), v, o)
	case math.Float64bits(v) != math.Float64bits(want):
		f.Wrong++
		f.example("wrong: shard %d series %d tick %d (%d) has %v, want %v", w.Shard, series, tick, p.Time(tick), v, want)
	default:
		f.Right++
	}
}

// seriesOf is which series of a shard has these labels. The replica label is missing where it was deduplicated away.
func (p Plan) seriesOf(shard int, labels map[string]string) (int, bool) {
	series, err := strconv.Atoi(strings.TrimPrefix(labels["instance"], "instance-"))
	if err != nil || series < 0 || series >= p.Series {
		return 0, false
	}
	n := 0
	for _, pair := range p.labels(shard, series) {
		v, ok := labels[pair[0]]
		if ok {
			n++
		}
		if v != pair[1] && (pair[0] != replicaLabel || ok) {
			return 0, false
		}
	}
	return series, n == len(labels)
}
