// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"math"
)

// appendSample appends a Sample entry of a TimeSeries. A zero value is left out only
// when all its bits are zero, so that -0 survives.
func appendSample(dst []byte, s Sample) []byte {
	const fixedPart = 1 + 8
	var body [fixedPart + 2*(1+binary.MaxVarintLen64)]byte
	n := 0
	if bits := math.Float64bits(s.V); bits != 0 {
		body[0] = 1<<3 | wireFixed64
		binary.LittleEndian.PutUint64(body[1:], bits)
		n = fixedPart
	}
	if s.T != 0 {
		body[n] = 2<<3 | wireVarint
		n += 1 + binary.PutUvarint(body[n+1:], uint64(s.T))
	}
	if s.ST != 0 {
		body[n] = fieldSampleStart<<3 | wireVarint
		n += 1 + binary.PutUvarint(body[n+1:], uint64(s.ST))
	}
	return appendEntry(dst, fieldSamples, body[:n])
}

// appendExemplarValue appends the value and the timestamp of an Exemplar message.
func appendExemplarValue(dst []byte, v float64, t int64) []byte {
	if bits := math.Float64bits(v); bits != 0 {
		dst = append(dst, 2<<3|wireFixed64)
		dst = binary.LittleEndian.AppendUint64(dst, bits)
	}
	if t != 0 {
		dst = append(dst, 3<<3|wireVarint)
		dst = binary.AppendUvarint(dst, uint64(t))
	}
	return dst
}

// appendLabel appends a Label entry of a TimeSeries or an Exemplar.
func appendLabel(dst, name, value []byte) []byte {
	dst = appendEntryHeader(dst, fieldLabels, entrySize(len(name))+entrySize(len(value)))
	dst = appendEntry(dst, 1, name)
	return appendEntry(dst, 2, value)
}

// appendSeries appends a series in 1.0 form, from its labels and the items it has.
func (b *Batch) appendSeries(dst []byte, s *Series) []byte {
	if s.labelsIn == inRefs {
		dst = b.appendLabels(dst, b.refsOf(s))
	} else {
		dst = append(dst, b.labelBytesOf(s, nil)...)
	}
	for _, smp := range b.samplesOf(s) {
		dst = appendSample(dst, smp)
	}
	for _, e := range b.exemplarsOf(s) {
		dst = appendEntry(dst, fieldExemplars, e)
	}
	for _, h := range b.histogramsOf(s) {
		dst = appendEntry(dst, fieldHistograms, h.raw)
	}
	return dst
}

// appendRequest appends the 1.0 request that consists of the given series. Not safe
// for concurrent use.
func (b *Batch) appendRequest(dst []byte, series []uint32) []byte {
	return b.appendRequestUsing(dst, series, &b.scratch)
}

// appendRequestUsing is appendRequest with a scratch buffer of the caller's, and may be
// called by several owners at the same time.
func (b *Batch) appendRequestUsing(dst []byte, series []uint32, scratch *[]byte) []byte {
	for _, i := range series {
		raw := b.rawOf(&b.series[i])
		if raw == nil {
			*scratch = b.appendSeries((*scratch)[:0], &b.series[i])
			raw = *scratch
		}
		dst = appendEntry(dst, fieldV1Series, raw)
	}
	return dst
}
