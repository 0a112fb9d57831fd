// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// timeBounds are the timestamps that are believed. One sample far in the future
// makes a TSDB refuse everything that follows at the right time.
type timeBounds struct{ min, max int64 }

func boundsAround(now time.Time, past, future time.Duration) timeBounds {
	return timeBounds{min: now.Add(-past).UnixMilli(), max: now.Add(future).UnixMilli()}
}

// validate gives every series its labels and key, and refuses the series, and the
// single items, that no owner may be asked for. An error means that the body is not
// what it was declared to be.
func (b *Batch) validate(bounds timeBounds) error {
	b.limitExemplars()
	if b.cache != nil {
		b.cache.lookUp(b.series, &b.shards, b.pool.strict)
	}
	b.valid = slices.Grow(b.valid, len(b.series))
	for i := range b.series {
		if b.series[i].refused {
			continue
		}
		refused, err := asRefusal(b.validateSeries(i, bounds))
		if err != nil {
			return err
		}
		if refused != nil {
			b.refuse(i, refused)
		}
		if !b.series[i].refused {
			b.valid = append(b.valid, uint32(i))
		}
	}
	if b.pool.strict {
		b.refuseConflicts()
	}
	return b.resolveFamilies()
}

func (b *Batch) validateSeries(i int, bounds timeBounds) error {
	s := &b.series[i]
	if !s.known {
		if err := b.identify(s); err != nil {
			return err
		}
	}
	// Prometheus sends exemplars in series of their own, so that one without
	// samples is legal when it has those.
	if s.samples.n == 0 && b.counts(s).total() == 0 {
		if s.damaged {
			s.refused = true // It had exemplars, and none of them was good.
			return nil
		}
		return refusef(ReasonNoSamples, "series has no samples")
	}
	if !b.needsDrop(s, bounds) {
		return nil
	}
	b.dropItems(i, bounds)
	s.refused = b.counts(s).total() == 0 // Each item for a reason of its own.
	s.message = span{}                   // It has other items now.
	s.uneven = true                      // As far as is known.
	return nil
}

// identify decodes and checks the labels of a series that the cache does not know.
func (b *Batch) identify(s *Series) error {
	if s.labelsIn == inRefs {
		if err := b.expand(s); err != nil {
			return err
		}
	}
	ls, key, err := b.decoder.decode(b.Tenant, b.labelBytesOf(s, nil), &b.limits)
	if err != nil {
		return err
	}
	b.addExtra(s).labels = ls
	s.slot, s.below = ring.SlotOf(key), belowSlot(key)
	if b.cache != nil {
		b.cache.put(s, b.pool.strict)
	}
	return nil
}

// needsDrop tells whether some item of the series has to be refused, and notes whether
// its timestamps rise. It is the part of validation that runs for every sample.
func (b *Batch) needsDrop(s *Series, bounds timeBounds) bool {
	last, uneven := int64(math.MinInt64), false
	for _, smp := range b.samplesOf(s) {
		if smp.T < bounds.min || smp.T > bounds.max {
			return true
		}
		uneven = uneven || smp.T <= last
		last = smp.T
	}
	s.uneven = uneven
	if s.extra == 0 {
		return false
	}
	for i := range b.histogramsOf(s) {
		h := &b.histogramsOf(s)[i]
		if h.t < bounds.min || h.t > bounds.max {
			return true
		}
		s.uneven = s.uneven || h.t <= last
		last = h.t
	}
	for _, e := range b.exemplarsOf(s) {
		if checkExemplar(e, bounds.max) != nil {
			return true
		}
	}
	return false
}

// dropItems takes the items that have to be refused out of the series at position i.
func (b *Batch) dropItems(i int, bounds timeBounds) {
	s := &b.series[i]
	s.samples.n = keepIf(b.samplesOf(s), func(smp *Sample) bool {
		return b.keepTime(i, smp.T, bounds, Counts{Samples: 1})
	})
	if s.extra == 0 {
		return
	}
	x := &b.extras[s.extra-1]
	x.histograms.n = keepIf(b.histogramsOf(s), func(h *histogramView) bool {
		return b.keepTime(i, h.t, bounds, Counts{Histograms: 1})
	})
	x.exemplars.n = keepIf(b.exemplarsOf(s), func(e *[]byte) bool {
		err := checkExemplar(*e, bounds.max)
		if err != nil {
			b.refuseItems(i, Counts{Exemplars: 1}, &refusal{ReasonExemplar, err.Error()})
		}
		return err == nil
	})
}

func (b *Batch) keepTime(i int, t int64, bounds timeBounds, item Counts) bool {
	switch {
	case t > bounds.max:
		b.refuseItems(i, item, &refusal{ReasonFuture, fmt.Sprintf("timestamp %d: too far in the future", t)})
		return false
	case t < bounds.min:
		b.refuseItems(i, item, &refusal{ReasonPast, fmt.Sprintf("timestamp %d: too far in the past", t)})
		return false
	default:
		return true
	}
}

// keepIf filters s in place and returns how many are left.
func keepIf[T any](s []T, keep func(*T) bool) uint32 {
	kept := s[:0]
	for i := range s {
		if keep(&s[i]) {
			kept = append(kept, s[i])
		}
	}
	return uint32(len(kept))
}
