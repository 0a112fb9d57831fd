// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"maps"
	"net/http"
	"slices"
)

// otlpDelivery accounts for the samples of one OTLP request: what its data points become
// once they are translated, whether they ever are. So its sums are those of remote write,
// and of what a query finds.
//
//	received = sifted + left + targets = accepted + deduplicated + refused
type otlpDelivery struct {
	request fingerprint
	// sender is who the first batch says it is from; nil until there is one.
	sender *senderID
	// sifted is what the data points would have become that were refused before they
	// were translated, left what the others do, and targets samples of target_info, which
	// translation adds.
	sifted, left, targets int
	// refused are samples that were refused, before translation and after.
	refused map[Reason]int
	// unwritten is why samples are neither refused nor accepted, if there are any.
	unwritten Reason

	// accepted is what is stored, deduplicated what need not be.
	accepted, deduplicated, hinted int
	newest                         int64
}

// refuse notes samples that were refused.
func (d *otlpDelivery) refuse(reason Reason, samples int) {
	if samples <= 0 {
		return
	}
	if d.refused == nil {
		d.refused = map[Reason]int{}
	}
	d.refused[reason] += samples
}

// identify notes who sent the request, as the ledger tells senders of remote write.
func (d *otlpDelivery) identify(l *Ledger, r *http.Request, b *Batch) {
	if l == nil || d.sender != nil || len(b.series) == 0 {
		return
	}
	id := l.identify(r, b).clone()
	d.sender = &id
}

// add notes what became of a batch.
func (d *otlpDelivery) add(b *Batch, o Outcome) {
	d.accepted += o.Written.stored()
	d.deduplicated += b.ha.dropped.stored()
	d.hinted += o.Hinted
	d.newest = max(d.newest, newestSample(b, o))
	for _, list := range [][]Rejection{b.refused, o.Rejected} {
		for _, r := range list {
			d.refuse(r.Reason, r.Items.stored())
		}
	}
}

// settle gives the samples that never got into a batch their reason, and returns what was
// received.
func (d *otlpDelivery) settle() int {
	booked := d.accepted + d.deduplicated
	for _, n := range d.refused {
		booked += n
	}
	missing := d.sifted + d.left + d.targets - booked
	d.refuse(d.unwritten, missing)
	return booked + max(0, missing)
}

// recordOTLP books an OTLP request that was read and answered with the given status, and
// returns where, as record does.
func (l *Ledger) recordOTLP(r *http.Request, tenant string, d *otlpDelivery, status int) ledgerEntry {
	if l == nil || d.sifted+d.left == 0 {
		return ledgerEntry{}
	}
	id := senderID{tenant: tenant, address: l.address(r)}
	if d.sender != nil {
		id = *d.sender
	}
	now := l.cfg.Now()
	s := l.row(id, now, true)
	out := delivery{retried: retried(r)}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		// Translation has stopped somewhere; all of the data points have to come again.
		out.unavailable, out.received = true, d.sifted+d.left
		s.book(&out, nil, nil, now)
		return ledgerEntry{}
	}
	out.received, out.hinted, out.newest = d.settle(), d.hinted, d.newest
	out.accepted, out.deduplicated = d.accepted+d.deduplicated, d.deduplicated
	if d.accepted > 0 {
		out.duplicate = l.acked.note(d.request, s, d.accepted, now)
	}
	var rejected []Rejection
	for _, reason := range slices.Sorted(maps.Keys(d.refused)) {
		rejected = append(rejected, Rejection{Reason: reason, Items: Counts{Samples: d.refused[reason]}})
	}
	s.book(&out, rejected, nil, now)
	return ledgerEntry{ledger: l, sender: s}
}
