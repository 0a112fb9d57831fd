// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// point is one sample.
type point struct {
	t int64
	v float64
}

// entry is one sample of one series, as it is in a write log.
type entry struct {
	series string
	lset   labels.Labels
	point
}

// head is what a Prometheus TSDB holds in memory, as far as float samples go: which
// appends it accepts, which of those are out of order, and what is left of both when
// its write logs are loaded. TestModelAgreesWithTSDB compares it with the real one.
type head struct {
	window int64 // Out-of-order window, ms.
	block  int64 // Block duration, ms.
	series map[string]*headSeries
	refs   []*headSeries
	maxT   int64
}

type headSeries struct {
	ref     storage.SeriesRef
	key     string
	lset    labels.Labels
	inOrder []point // Ascending.
	late    []point // Out of order, by time.
	version int     // Changes with every sample.
}

func newHead(window, block int64) *head {
	return &head{window: window, block: block, series: map[string]*headSeries{}, maxT: math.MinInt64}
}

// find returns a series by reference or else by labels, and makes it if need be.
func (h *head) find(ref storage.SeriesRef, lset labels.Labels) (*headSeries, error) {
	if ref > 0 && int(ref) <= len(h.refs) {
		return h.refs[ref-1], nil
	}
	if lset.IsEmpty() {
		return nil, errNoLabels
	}
	key := lset.String()
	s := h.series[key]
	if s == nil {
		s = &headSeries{ref: storage.SeriesRef(len(h.refs) + 1), key: key, lset: lset}
		h.series[key] = s
		h.refs = append(h.refs, s)
	}
	return s, nil
}

var errNoLabels = errors.New("BUG: unknown reference without labels")

// verdict says whether a sample may be appended, and whether it is out of order. The
// newest time of the head is that of when the appender was made.
func (h *head) verdict(s *headSeries, p point, headMaxT int64) (late bool, err error) {
	newest := point{t: math.MinInt64}
	if n := len(s.inOrder); n > 0 {
		newest = s.inOrder[n-1]
	}
	minValid := headMaxT - h.block/2
	switch {
	case p.t >= minValid && p.t > newest.t:
		return false, nil
	case p.t >= minValid && p.t == newest.t && math.Float64bits(p.v) != math.Float64bits(newest.v):
		return false, fmt.Errorf("%w: at %d", storage.ErrDuplicateSampleForTimestamp, p.t)
	case p.t >= minValid && p.t == newest.t:
		return false, nil
	case h.window > 0 && p.t >= headMaxT-h.window:
		return true, nil
	case h.window > 0:
		return true, storage.ErrTooOldSample
	case p.t < minValid:
		return false, storage.ErrOutOfBounds
	default:
		return false, storage.ErrOutOfOrderSample
	}
}

// insert puts a sample where the verdict says it belongs. It returns whether it is new
// among the out-of-order samples, and so goes into the WBL.
func (h *head) insert(s *headSeries, p point, late bool) (inserted bool) {
	s.version++
	if !late {
		if n := len(s.inOrder); n == 0 || s.inOrder[n-1].t < p.t {
			s.inOrder = append(s.inOrder, p)
			h.maxT = max(h.maxT, p.t)
		}
		return false
	}
	i, found := slices.BinarySearchFunc(s.late, p.t, func(a point, t int64) int { return int(a.t - t) })
	if found {
		return false
	}
	s.late = slices.Insert(s.late, i, p)
	return true
}

// replay loads what is left of the two write logs, in the way of the TSDB: what is out
// of order in the WAL comes from the WBL or not at all.
func (h *head) replay(wal, wbl []entry) {
	for _, e := range wal {
		s, err := h.find(0, e.lset)
		if err != nil {
			panic(err)
		}
		if n := len(s.inOrder); n == 0 || e.t > s.inOrder[n-1].t {
			h.insert(s, e.point, false)
		}
	}
	for _, e := range wbl {
		s, err := h.find(0, e.lset)
		if err != nil {
			panic(err)
		}
		h.insert(s, e.point, true)
	}
}

// points returns the samples of a series by time, each time once.
func (s *headSeries) points() []point { return mergePoints(s.inOrder, s.late) }

// mergePoints merges two lists by time; where both have one the first wins.
func mergePoints(a, b []point) []point {
	if len(b) == 0 {
		return a
	}
	out := make([]point, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].t < b[0].t:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0].t < a[0].t:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}
