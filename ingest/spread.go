// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"

	"github.com/golang/snappy"

	"github.com/penstock-io/penstock/ring"
)

// spreadMetadata keeps the metadata of a request and tells the other members what is
// new in it. It is best effort: a member that misses it hears it again later, and
// nothing of it can fail a write.
func (d *Distributor) spreadMetadata(ctx context.Context, view *ring.View, b *Batch) {
	due := d.cfg.Local.ApplyMetadata(b.Tenant, b.metadata)
	if len(due) == 0 {
		return
	}
	var body ownBody
	for _, m := range d.statesOf(view).members {
		if m.self || m.away {
			continue
		}
		if body == nil {
			body = encodeMetadata(due)
		}
		p, tenant := d.peers.get(m.Member), b.Tenant
		if !p.inflight.enter(len(body)) {
			continue
		}
		d.running.Go(func() {
			defer p.inflight.leave(len(body))
			if _, err := p.push(ctx, tenant, body); err != nil {
				d.logger.Debug("metadata not told to member", "member", p.name, "err", err)
			}
		})
	}
}

func encodeMetadata(entries []Metadata) ownBody {
	var request []byte
	for _, m := range entries {
		request = appendMetadata(request, m)
	}
	return snappy.Encode(nil, request)
}
