// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "github.com/golang/snappy"

// payload is a compressed request for a member.
type payload struct {
	body  []byte
	proto protocol
}

// payloads builds the requests for the members of one batch, and builds the one for
// members that own everything only once. Not safe for concurrent use.
type payloads struct {
	batch *Batch
	whole []byte
}

// of returns the request that holds the series at the given positions. It is the
// body as it came when that is all of it. The bytes live as long as the batch.
func (p *payloads) of(part []uint32) payload {
	if len(part) == len(p.batch.valid) && p.batch.wire != nil {
		return payload{p.batch.wire, p.batch.proto}
	}
	if p.batch.subsetInV2(part) {
		return payload{p.batch.compressV2(part), protoV2}
	}
	return payload{p.v1(part), protoV1}
}

// subsetInV2Min is the share of a 2.0 request, one in so many series, from which on a
// part of it is sent in 2.0: with the symbols of all series, used or not. A smaller
// part is smaller written out.
const subsetInV2Min = 4

// subsetInV2 tells whether the part is sent as a subset of the 2.0 request. It must be
// as it came: messages of which something was refused are not sent on.
func (b *Batch) subsetInV2(part []uint32) bool {
	return b.form == protoV2 && b.wire != nil && len(part)*subsetInV2Min >= len(b.series)
}

// compressV2 returns the 2.0 request that holds the series at the given positions. Not
// safe for concurrent use.
func (b *Batch) compressV2(part []uint32) []byte {
	b.concat = b.appendRequestV2(b.concat[:0], part)
	return b.compressConcat()
}

// appendRequestV2 appends the 2.0 request with the symbols of this one and the given
// series.
func (b *Batch) appendRequestV2(dst []byte, part []uint32) []byte {
	for i := range b.symbols {
		dst = appendEntry(dst, fieldV2Symbols, b.symbols[i].text)
	}
	for _, i := range part {
		dst = appendEntry(dst, fieldV2Series, within(b.body, b.series[i].message))
	}
	return dst
}

// v1 is of in the form of remote write 1.0.
func (p *payloads) v1(part []uint32) []byte {
	if len(part) != len(p.batch.valid) {
		return p.batch.compress(part)
	}
	if p.whole == nil {
		p.whole = p.batch.wire
		if p.whole == nil || p.batch.proto != protoV1 {
			p.whole = p.batch.compress(part)
		}
	}
	return p.whole
}

// compress returns the request that holds the series at the given positions. Not
// safe for concurrent use.
func (b *Batch) compress(part []uint32) []byte {
	b.concat = b.appendRequest(b.concat[:0], part)
	return b.compressConcat()
}

// compressConcat compresses b.concat. The bytes live as long as the batch.
func (b *Batch) compressConcat() []byte {
	return b.owned(func(buf []byte) []byte {
		// Encode uses the capacity of buf when it is enough.
		return snappy.Encode(buf[:cap(buf)], b.concat)
	})
}
