// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/zeebo/xxh3"
)

// A TSDB takes exemplars with a sample of their series. Prometheus sends them in
// TimeSeries of their own, which follow the samples in the same request, or in a
// later one when a batch is full. So an exemplar first looks for a host: a sample of
// its series in this request. What finds none is loose, and is appended by the older
// interface if the storage offers it. What a TSDB refuses may be one that it has
// already; exemplar_stored.go finds out. Losing an exemplar is not losing a sample:
// it is counted, and is not counted as written, but fails nothing.

// ExemplarSource is what an AppenderSource may offer too: appends of exemplars whose
// series has no sample in the request, and a look at those that are stored.
type ExemplarSource interface {
	Appender(ctx context.Context, tenant string) (storage.Appender, error)
	ExemplarQuerier(ctx context.Context, tenant string) (storage.ExemplarQuerier, error)
}

// looseExemplar is an exemplar of the series at a position of the part, and which
// item of that series it is.
type looseExemplar struct {
	pos  uint32
	item uint32
	ex   exemplar.Exemplar
}

// pendingExemplars wait for a sample that carries them.
type pendingExemplars struct {
	values []exemplar.Exemplar
	items  []looseExemplar // the same, with where they came from
}

// exemplarHosts are the exemplars that found a series with samples, by its position.
type exemplarHosts struct {
	guests map[uint32][]looseExemplar
	loose  []looseExemplar
}

// hostExemplars looks for hosts for the series that have exemplars only. It costs
// nothing when there are none.
func hostExemplars(b *Batch, part []uint32) exemplarHosts {
	var h exemplarHosts
	var byHash map[labelHash]uint32
	for pos, i := range part {
		s := &b.series[i]
		if s.extra == 0 || b.counts(s).Exemplars == 0 || b.hasSamples(s) {
			continue
		}
		if byHash == nil {
			byHash = seriesWithSamples(b, part)
			h.guests = map[uint32][]looseExemplar{}
		}
		decoded := b.decodeExemplars(uint32(pos), s)
		// A sender writes the labels of one series alike; where it does not, the
		// exemplar is loose and finds its series by its labels.
		if host, ok := byHash[b.hashOf(s)]; ok {
			h.guests[host] = append(h.guests[host], decoded...)
		} else {
			h.loose = append(h.loose, decoded...)
		}
	}
	return h
}

func seriesWithSamples(b *Batch, part []uint32) map[labelHash]uint32 {
	byHash := make(map[labelHash]uint32, len(part))
	for pos, i := range part {
		if s := &b.series[i]; b.hasSamples(s) {
			byHash[b.hashOf(s)] = uint32(pos)
		}
	}
	return byHash
}

// hashOf returns a hash of the labels of s as they were sent, also without a cache.
func (b *Batch) hashOf(s *Series) labelHash {
	if s.hash != (labelHash{}) {
		return s.hash
	}
	h := xxh3.Hash128(b.labelBytesOf(s, nil))
	return labelHash{h.Hi, h.Lo}
}

// take returns the exemplars that the samples of the series at pos carry.
func (h *exemplarHosts) take(b *Batch, pos uint32, s *Series) pendingExemplars {
	if s.extra == 0 && h.guests == nil {
		return pendingExemplars{} // As nearly all.
	}
	guests := h.guests[pos]
	if b.counts(s).Exemplars == 0 && len(guests) == 0 {
		return pendingExemplars{}
	}
	if !b.hasSamples(s) {
		return pendingExemplars{} // A guest itself, or loose already.
	}
	p := pendingExemplars{items: append(b.decodeExemplars(pos, s), guests...)}
	sortExemplars(p.items)
	for _, e := range p.items {
		p.values = append(p.values, e.ex)
	}
	return p
}

// sortExemplars brings exemplars into the order in which a TSDB takes them all: it
// refuses one that comes after a later one, and of the same time after one with a
// larger value or hash.
func sortExemplars(items []looseExemplar) {
	slices.SortStableFunc(items, func(a, b looseExemplar) int {
		if c := cmp.Or(cmp.Compare(a.ex.Ts, b.ex.Ts), cmp.Compare(a.ex.Value, b.ex.Value)); c != 0 {
			return c
		}
		return cmp.Compare(a.ex.Labels.Hash(), b.ex.Labels.Hash())
	})
}

func (b *Batch) decodeExemplars(pos uint32, s *Series) []looseExemplar {
	c := b.counts(s)
	first := uint32(c.Samples + c.Histograms)
	out := make([]looseExemplar, 0, c.Exemplars)
	// A decoder of its own: several owners may read one batch at the same time.
	d := newLabelDecoder()
	for n, msg := range b.exemplarsOf(s) {
		ex, err := d.decodeExemplar(msg)
		if err != nil {
			continue // Cannot happen: the scanner has read these bytes.
		}
		out = append(out, looseExemplar{pos: pos, item: first + uint32(n), ex: ex})
	}
	return out
}

// isStale tells whether a sample is a stale marker: a TSDB silently drops the exemplars
// that come with one.
func isStale(smp Sample, ih *histogram.Histogram, fh *histogram.FloatHistogram) bool {
	switch {
	case ih != nil:
		return value.IsStaleNaN(ih.Sum)
	case fh != nil:
		return value.IsStaleNaN(fh.Sum)
	default:
		return value.IsStaleNaN(smp.V)
	}
}

func (tx *transaction) dropExemplar(e looseExemplar) {
	tx.faults = append(tx.faults, Fault{
		Pos: e.pos, Verdict: Rejected, Items: []uint32{e.item}, Reason: ReasonExemplarDropped,
		Detail: "exemplar not stored",
	})
}

// appendLooseExemplars stores the exemplars that no sample carried, after the commit,
// so that their series exist as far as they ever will. What is refused is in doubt.
func (l *Local) appendLooseExemplars(ctx context.Context, tx *transaction) {
	if len(tx.loose) == 0 {
		return
	}
	source, ok := l.cfg.Store.(ExemplarSource)
	if !ok {
		tx.doubtful = append(tx.doubtful, tx.loose...)
		return
	}
	app, err := source.Appender(ctx, tx.batch.Tenant)
	if err != nil {
		tx.doubtful = append(tx.doubtful, tx.loose...)
		return
	}
	sortExemplars(tx.loose)
	refused := len(tx.doubtful)
	for _, e := range tx.loose {
		if _, err := app.AppendExemplar(0, tx.labels(e.pos), e.ex); err != nil {
			tx.doubtful = append(tx.doubtful, e)
		}
	}
	if app.Commit() != nil {
		tx.doubtful = append(tx.doubtful[:refused], tx.loose...)
	}
}

// sortedFaults returns one fault per series, by position: a series whose samples and
// exemplars were refused has got several.
func (tx *transaction) sortedFaults() []Fault {
	slices.SortStableFunc(tx.faults, func(a, b Fault) int { return int(a.Pos) - int(b.Pos) })
	merged := tx.faults[:0]
	for _, f := range tx.faults {
		n := len(merged)
		if n == 0 || merged[n-1].Pos != f.Pos {
			merged = append(merged, f)
			continue
		}
		last := &merged[n-1]
		if last.Items == nil {
			continue // All of it is refused or unavailable already.
		}
		if f.Items == nil {
			*last = f
			continue
		}
		last.Items = append(last.Items, f.Items...)
		slices.Sort(last.Items)
		if last.Reason == ReasonExemplarDropped {
			last.Reason, last.Detail = f.Reason, f.Detail
		}
	}
	return merged
}
