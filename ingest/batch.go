// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Batch is one write request of one tenant: its series in the order of the
// request, and the memory they point into. Batches are pooled; whoever uses one
// after the call it was passed to holds a reference (retain, release).
type Batch struct {
	Tenant string

	// body is the decompressed request that series point into, a message of form.
	body     []byte
	form     protocol
	series   []Series
	extras   []extra
	valid    []uint32    // positions of the series that were not refused as a whole
	refused  []Rejection // what was refused before any owner was asked
	received Counts
	metadata []Metadata

	// wire is the body as it came, compressed, when nothing of it was refused: then it
	// can be passed on as it is, in the protocol it came in.
	wire  []byte
	proto protocol
	// ha is set with an election only.
	ha haBatch

	limits  Limits
	decoder labelDecoder
	// cache is what is known of the tenant's series; nil without a cache.
	cache   *tenantCache
	shards  shardOrder
	plan    planMemory
	votes   voteMemory
	repeats repeatFinder
	// Arenas that series point into.
	samples    []Sample
	histograms []histogramView
	exemplars  [][]byte
	arena      []byte // rebuilt series, label bytes that were not contiguous
	symbols    []symbol
	labelRefs  []uint32 // of 2.0 series
	families   []inlineFamily
	familySeen []uint64
	// expanded is what the series of a 2.0 request come to in 1.0 form.
	expanded int64
	// exemplarRefs are the references of the 2.0 exemplar at hand.
	exemplarRefs []uint32
	// Buffers that are kept from batch to batch.
	wireBuf, bodyBuf, concat, scratch []byte
	spares                            [][]byte
	spareUsed                         int

	refs atomic.Int32
	pool *batchPool
}

// Sample is one float sample. The value is never computed with, so that the
// payload of a NaN survives. ST is the start timestamp, 0 when unknown.
type Sample struct {
	T  int64
	V  float64
	ST int64
}

// refuse marks the whole series at position i as refused.
func (b *Batch) refuse(i int, r *refusal) {
	s := &b.series[i]
	s.refused = true
	b.refuseItems(i, b.counts(s), r)
}

// refuseItems notes that some items of the series at position i are refused. Items
// refused one after the other for the same reason become one note, that of the first.
func (b *Batch) refuseItems(i int, items Counts, r *refusal) {
	if n := len(b.refused); n > 0 && b.refused[n-1].Series == i && b.refused[n-1].Reason == r.reason {
		b.refused[n-1].Items.add(items)
		return
	}
	b.refused = append(b.refused, Rejection{Series: i, Items: items, Reason: r.reason, Detail: r.detail})
}

// offered counts the items that the owners are asked to take.
func (b *Batch) offered() Counts {
	c := b.chargeable()
	for _, r := range b.refused {
		c.sub(r.Items)
	}
	return c
}

// chargeable counts the items that were received and not dropped for an HA replica.
func (b *Batch) chargeable() Counts {
	c := b.received
	c.sub(b.ha.dropped)
	return c
}

// refusal says why a series, or part of it, is refused. As an error it passes
// through the functions that find it; it is never an error of the request.
type refusal struct {
	reason Reason
	detail string
}

func (r *refusal) Error() string { return r.detail }

func refusef(reason Reason, format string, args ...any) error {
	return &refusal{reason, fmt.Sprintf(format, args...)}
}

// asRefusal separates the two kinds of error.
func asRefusal(err error) (*refusal, error) {
	if err == nil {
		return nil, nil // Here, and before anything is allocated, for nearly every series.
	}
	var r *refusal
	if errors.As(err, &r) {
		return r, nil
	}
	return nil, err
}

// owned returns what build appends to an empty buffer. The bytes live as long as
// the batch. Not safe for concurrent use.
func (b *Batch) owned(build func(buf []byte) []byte) []byte {
	if b.spareUsed == len(b.spares) {
		b.spares = append(b.spares, nil)
	}
	out := build(b.spares[b.spareUsed][:0])
	b.spares[b.spareUsed] = out
	b.spareUsed++
	return out
}

func (b *Batch) retain() { b.refs.Add(1) }

func (b *Batch) release() {
	if b.refs.Add(-1) == 0 {
		b.pool.put(b)
	}
}

// pooledBytesMax is the largest buffer that a pooled batch keeps: a few unusual
// requests must not leave their size behind for good.
const pooledBytesMax = 4 << 20

// batchPool recycles batches with their buffers.
type batchPool struct {
	limits Limits
	cache  *SeriesCache // may be nil
	// strict is set where requests have to pass the public limits.
	strict bool
	// election is nil when it is off.
	election *Election
	pool     sync.Pool
}

// get returns an empty batch with one reference.
func (p *batchPool) get(tenant string) *Batch { return p.getUnder(tenant, &p.limits) }

// getUnder returns an empty batch for a request under the given limits.
func (p *batchPool) getUnder(tenant string, limits *Limits) *Batch {
	b, ok := p.pool.Get().(*Batch)
	if !ok {
		b = &Batch{pool: p, decoder: newLabelDecoder()}
	}
	b.Tenant, b.limits = tenant, *limits
	if p.strict {
		b.cache = p.cache.tenantUnder(tenant, limits.perSeries())
	} else {
		b.cache = p.cache.tenant(tenant)
	}
	b.refs.Store(1)
	return b
}

func (p *batchPool) put(b *Batch) {
	if b.bytesHeld() > pooledBytesMax {
		return
	}
	// Entries that keep strings and views alive are cleared, not only cut. Series have
	// no pointers.
	b.body, b.series = nil, b.series[:0]
	b.extras = cleared(b.extras)
	b.refused = cleared(b.refused)
	b.metadata = cleared(b.metadata)
	b.families = cleared(b.families)
	b.symbols = cleared(b.symbols)
	b.labelRefs, b.familySeen = b.labelRefs[:0], b.familySeen[:0]
	b.histograms = cleared(b.histograms)
	b.exemplars = cleared(b.exemplars)
	b.ha = haBatch{shares: cleared(b.ha.shares), of: b.ha.of[:0]}
	b.valid, b.samples, b.arena = b.valid[:0], b.samples[:0], b.arena[:0]
	b.wireBuf, b.bodyBuf = b.wireBuf[:0], b.bodyBuf[:0]
	b.Tenant, b.cache, b.wire, b.received, b.spareUsed, b.expanded = "", nil, nil, Counts{}, 0, 0
	p.pool.Put(b)
}

func cleared[T any](s []T) []T {
	clear(s)
	return s[:0]
}

func (b *Batch) bytesHeld() int {
	const seriesSize, itemSize = 64, 64
	n := cap(b.arena) + cap(b.wireBuf) + cap(b.bodyBuf) + cap(b.concat) + cap(b.series)*seriesSize
	n += cap(b.extras)*itemSize + cap(b.symbols)*40 + cap(b.labelRefs)*4 + cap(b.scratch)
	n += cap(b.repeats.table)*8 + cap(b.repeats.repeats)*8
	n += (cap(b.samples) + cap(b.histograms) + cap(b.exemplars)) * itemSize
	for _, s := range b.spares {
		n += cap(s)
	}
	return n
}
