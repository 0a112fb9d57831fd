// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"reflect"
	"testing"
)

// A batch must come out the same whatever the cache knows: nothing, what an earlier
// request taught it, what a damaged one did, or what another tenant's did.

// seen is all that the owners of a batch, and its sender, can see of it.
type seen struct {
	err      string
	series   []seenSeries
	valid    []uint32
	refused  []Rejection
	received Counts
	metadata []Metadata
}

type seenSeries struct {
	refused    bool
	labels     string
	slot       uint16
	samples    []Sample
	histograms int
	raw        []byte // what another member would be sent
}

func parsed(pool *batchPool, tenant string, body []byte, proto protocol) seen {
	b := pool.get(tenant)
	defer b.release()
	b.bodyBuf = append(b.bodyBuf, body...)
	bounds := timeBounds{min: -1 << 40, max: 1 << 41}
	if err := b.parse(proto, bounds); err != nil {
		return seen{err: err.Error()}
	}
	out := seen{
		valid: copied(b.valid), refused: copied(b.refused), received: b.received, metadata: copied(b.metadata),
	}
	d := newLabelDecoder()
	for i := range b.series {
		s := &b.series[i]
		one := seenSeries{refused: s.refused}
		if !s.refused {
			one.labels, one.slot = b.labelsOf(s, &d).String(), s.slot
			one.samples, one.histograms = comparableSamples(b.samplesOf(s)), len(b.histogramsOf(s))
			one.raw = b.appendRequest(nil, []uint32{uint32(i)})
		}
		out.series = append(out.series, one)
	}
	return out
}

// copied returns nil for what is empty.
func copied[T any](s []T) []T { return append([]T(nil), s...) }

// comparableSamples makes samples equal whose values are the same NaN.
func comparableSamples(samples []Sample) []Sample {
	out := copied(samples)
	for i := range out {
		out[i].V = 0 // Its bits are in raw.
	}
	return out
}

func checkCached(t *testing.T, body []byte, at, flip uint16, proto protocol) {
	limits := Limits{LabelsPerSeries: 8, LabelNameBytes: 64, LabelValueBytes: 64}.withDefaults()
	want := parsed(&batchPool{limits: limits, strict: true}, testTenant, body, proto)
	cache := NewSeriesCache(CacheConfig{}, nil)
	cached := &batchPool{limits: limits, cache: cache, strict: true}
	between := &batchPool{limits: limits.between(), cache: cache}
	damaged := bytes.Clone(body)
	if len(damaged) > 0 {
		damaged[int(at)%len(damaged)] ^= byte(flip)
	}
	wantDamaged := parsed(&batchPool{limits: limits, strict: true}, testTenant, damaged, proto)

	parsed(between, testTenant, body, proto) // What other members may send is more.
	requireSeen(t, want, parsed(cached, testTenant, body, proto), "after a member sent it")
	requireSeen(t, want, parsed(cached, testTenant, body, proto), "again")
	requireSeen(t, wantDamaged, parsed(cached, testTenant, damaged, proto), "another request")
	requireSeen(t, want, parsed(cached, testTenant, body, proto), "after another request")
	cache.sweep()
	cache.sweep()
	requireSeen(t, want, parsed(cached, testTenant, body, proto), "after a sweep")
	requireSeen(t,
		parsed(&batchPool{limits: limits, strict: true}, "other", body, proto),
		parsed(cached, "other", body, proto), "another tenant")
}

// requireSeen shows the first difference only: all of a request would take seconds to
// print.
func requireSeen(t *testing.T, want, got seen, when string) {
	t.Helper()
	for i := range min(len(want.series), len(got.series)) {
		if !reflect.DeepEqual(want.series[i], got.series[i]) {
			t.Fatalf("%s, series %d:\n%+v, want\n%+v", when, i, got.series[i], want.series[i])
		}
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: error %q, %d series, %d valid, %d refused, %v; want %q, %d, %d, %d, %v", when,
			got.err, len(got.series), len(got.valid), len(got.refused), got.received,
			want.err, len(want.series), len(want.valid), len(want.refused), want.received)
	}
}

func FuzzCachedV1(f *testing.F) {
	for i, body := range seedsV1(f) {
		f.Add(body, uint16(i), uint16(0x01))
		f.Add(body, uint16(7*i), uint16(0x80))
	}
	f.Fuzz(func(t *testing.T, body []byte, at, flip uint16) { checkCached(t, body, at, flip, protoV1) })
}

func FuzzCachedV2(f *testing.F) {
	for i, body := range seedsV2(f) {
		f.Add(body, uint16(i), uint16(0x01))
		f.Add(body, uint16(7*i), uint16(0x80))
	}
	f.Fuzz(func(t *testing.T, body []byte, at, flip uint16) { checkCached(t, body, at, flip, protoV2) })
}

// TestCachedDamagedBodies flips every byte of legal bodies: a fixed part of what the
// fuzz targets do, for every run of the tests.
func TestCachedDamagedBodies(t *testing.T) {
	t.Parallel()
	for proto, bodies := range map[protocol][][]byte{protoV1: seedsV1(t), protoV2: seedsV2(t)} {
		for _, body := range bodies {
			if len(body) > 2000 {
				continue
			}
			for at := range body {
				checkCached(t, body, uint16(at), 0x01, proto)
			}
		}
	}
}
