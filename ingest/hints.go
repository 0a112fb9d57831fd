// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"

	"github.com/penstock-io/penstock/ingest/hint"
)

// HintLog keeps writes for members that missed them; hint.Log is one. Append
// returns when the payload is as durable as the log makes it, and does not keep it.
type HintLog interface {
	HintReplayer
	Append(member string, payload []byte) error
	Pending() map[string]hint.Stats
	// NoteShort notes a write that all members of the ring, named, took, though there are fewer
	// of them than copies.
	NoteShort(members string)
}

var _ HintLog = (*hint.Log)(nil)

// hintVersion is the first byte of a hint's payload; docs/format/push.md has the rest.
const hintVersion = 1

var errHintFormat = errors.New("hint payload is damaged or of an unknown version")

// appendHint appends the payload of a hint: who the tenant is, and the compressed
// request.
func appendHint(dst []byte, tenant string, body []byte) []byte {
	dst = append(dst, hintVersion)
	dst = binary.AppendUvarint(dst, uint64(len(tenant)))
	dst = append(dst, tenant...)
	return append(dst, body...)
}

func readHint(payload []byte) (tenant string, body []byte, err error) {
	if len(payload) == 0 || payload[0] != hintVersion {
		return "", nil, errHintFormat
	}
	c := cursor{b: payload, i: 1}
	name, err := c.bytes()
	if err != nil {
		return "", nil, errHintFormat
	}
	return string(name), payload[c.i:], nil
}

// storeHints writes a hint for every owner that lacks a series which the answer is
// going to promise. When some series of the request is unavailable nothing is
// hinted at all: the answer is 503, which promises nothing, the sender delivers all
// of it again, and a log that grew with every such attempt would be full when it is
// needed. The same goes for series that are refused.
//
// A hint that cannot be stored is counted and the answer still goes: the quorum has
// the series. It returns how many samples the hints have together.
func (d *Distributor) storeHints(b *Batch, p plan, t *tally, members []memberState, pl *payloads, late *lateAnswers) (samples int) {
	for n := range p.shares {
		sh := &p.shares[n]
		part := t.missedPart(sh)
		if len(part) == 0 {
			continue
		}
		body := pl.v1(part)
		payload := b.owned(func(buf []byte) []byte { return appendHint(buf, b.Tenant, body) })
		name := members[sh.member].Name
		if err := d.cfg.Hints.Append(name, payload); err != nil {
			d.metrics.hintsFailed.Inc()
			d.logger.Warn("hint not stored; owner misses series until it is refilled", "member", name, "series", len(part), "err", err)
			continue
		}
		d.metrics.hintsStored.Inc()
		late.hinted(n, hintKeyOf(name, payload))
		for _, i := range part {
			samples += b.counts(&b.series[i]).stored()
		}
	}
	return samples
}
