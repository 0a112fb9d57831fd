// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// errOverlap says that a series has chunks that were not merged. Whoever merges blocks merges them.
var errOverlap = errors.New("chunks overlap")

// raw downsamples the chunks of a raw series. What it returns is valid until the next call.
func (w *writer) raw(chks []chunks.Meta) ([]chunks.Meta, error) {
	w.out = w.out[:0]
	if err := inOrder(chks); err != nil {
		return nil, err
	}
	for len(chks) > 0 {
		n := 1
		for n < len(chks) && isHistogram(chks[n].Chunk) == isHistogram(chks[0].Chunk) {
			n++
		}
		if err := w.rawOfKind(chks[:n]); err != nil {
			return nil, err
		}
		chks = chks[n:]
	}
	return w.out, nil
}

// rawOfKind downsamples chunks that are all of floats or all of histograms.
func (w *writer) rawOfKind(chks []chunks.Meta) error {
	if isHistogram(chks[0].Chunk) {
		return w.rawHistograms(chks)
	}
	w.points = w.points[:0]
	for _, c := range chks {
		w.read = c.Chunk.Iterator(w.read)
		for w.read.Next() != chunkenc.ValNone {
			if t, v := w.read.At(); !value.IsStaleNaN(v) {
				w.points = append(w.points, point{t, v})
			}
		}
		if err := w.read.Err(); err != nil {
			return err
		}
	}
	w.rawFloats(w.points)
	return nil
}

// coarser downsamples the chunks of a series that is downsampled already, to inRes. What it returns is valid until the next
// call.
func (w *writer) coarser(chks []chunks.Meta, inRes int64) ([]chunks.Meta, error) {
	if err := inOrder(chks); err != nil {
		return nil, err
	}
	w.out = w.out[:0]
	finer, err := w.allDownsampled(chks, inRes)
	if err != nil {
		return nil, err
	}
	for len(finer) > 0 {
		n := 1
		for n < len(finer) && finer[n].sameKind(finer[0]) {
			n++
		}
		if err := w.coarserOfKind(finer[:n], inRes); err != nil {
			return nil, err
		}
		finer = finer[n:]
	}
	return w.out, nil
}

// parsed is one downsampled chunk.
type parsed struct {
	Parts
	mint, maxt int64
	kind       *histogramKind // Nil of floats.
}

// allDownsampled parses chunks. Thanos has left raw ones in downsampled blocks; they are downsampled to what the others are.
func (w *writer) allDownsampled(chks []chunks.Meta, inRes int64) ([]parsed, error) {
	var all []parsed
	for _, c := range chks {
		these := []chunks.Meta{c}
		if c.Chunk.Encoding() != Encoding {
			if c.Chunk.NumSamples() == 0 {
				continue
			}
			finer := newWriter(inRes)
			if err := finer.rawOfKind(these); err != nil {
				return nil, err
			}
			these = finer.out
		}
		for _, c := range these {
			p, err := parseMeta(c)
			if err != nil {
				return nil, fmt.Errorf("chunk at %d: %w", c.MinTime, err)
			}
			all = append(all, p)
		}
	}
	return all, nil
}

func parseMeta(c chunks.Meta) (parsed, error) {
	parts, err := NewChunk(c.Chunk.Bytes()).Parse()
	if err != nil {
		return parsed{}, err
	}
	p := parsed{Parts: parts, mint: c.MinTime, maxt: c.MaxTime}
	if parts.isHistogram() {
		h, err := firstHistogram(&parts, Counter)
		if err != nil {
			return parsed{}, err
		}
		k := kindOf(h)
		p.kind = &k
	}
	return p, nil
}

func (p parsed) sameKind(other parsed) bool {
	if p.kind == nil || other.kind == nil {
		return p.kind == other.kind
	}
	return p.kind.equal(*other.kind)
}

func (w *writer) coarserOfKind(finer []parsed, inRes int64) error {
	samples := 0
	group := make([]Parts, len(finer))
	for i, c := range finer {
		group[i] = c.Parts
		if c.Parts[Count] != nil {
			samples += c.Parts[Count].NumSamples()
		}
	}
	size := max(1, len(finer)/chunkTarget(finer[0].mint, finer[len(finer)-1].maxt, inRes, w.resolution, samples))
	for len(group) > 0 {
		n := min(size, len(group))
		join := w.coarserFloats
		if finer[0].kind != nil {
			join = w.coarserHistograms
		}
		if err := join(group[:n]); err != nil {
			return err
		}
		group = group[n:]
	}
	return nil
}

func isHistogram(c chunkenc.Chunk) bool {
	switch c.Encoding() {
	case chunkenc.EncHistogram, chunkenc.EncFloatHistogram, chunkenc.EncHistogramST, chunkenc.EncFloatHistogramST:
		return true
	}
	return false
}

func inOrder(chks []chunks.Meta) error {
	for i := 1; i < len(chks); i++ {
		if chks[i-1].MaxTime >= chks[i].MinTime {
			return fmt.Errorf("%w: one ends at %d, the next begins at %d", errOverlap, chks[i-1].MaxTime, chks[i].MinTime)
		}
	}
	return nil
}
