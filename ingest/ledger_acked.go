// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
)

const (
	// ackedRequestsMax is how many answered requests are remembered at least. A busy
	// member answers some 200 in a second, and a sender that heard no answer comes
	// again within a minute; the bound is 3 MiB.
	ackedRequestsMax = 1 << 16
	// ackedAge is how long a request is remembered at least while there are fewer.
	ackedAge = 10 * time.Minute
)

// fingerprint identifies the body of a request of a tenant. All members compute the
// same one.
type fingerprint labelHash

// fingerprintOf hashes the body as it came. Whoever delivers a request again, a
// sender or a load balancer, sends the bytes that it has.
func fingerprintOf(b *Batch) fingerprint {
	h := xxh3.Hash128Seed(b.wireBuf, xxh3.HashString(b.Tenant))
	return fingerprint{h.Hi, h.Lo}
}

// ackedRequests remembers which requests were answered with a promise, so that one
// that is delivered again is known to be the same. An answer that got lost on the way is
// delivered again through any member, so that the members tell each other: each tells those whose
// names come after its own, and the later one has the duplicate. So each copy but one
// of a request is counted by exactly one member.
//
// What is forgotten, or could not be told, is a duplicate that nobody counts; nothing
// is called a duplicate that was not. Safe for concurrent use.
type ackedRequests struct {
	mu     sync.Mutex
	own    recent[ackedRequest]
	others recent[uint32] // samples of requests that members before this one answered
	log    ackedLog
}

// ackedRequest is a request that was answered here.
type ackedRequest struct {
	sender  *sender
	samples uint32
	// known is set when a member before this one is known to have it.
	known bool
}

// newAckedRequests returns an empty memory; told keeps a log for the other members.
func newAckedRequests(told bool) *ackedRequests {
	a := &ackedRequests{}
	if told {
		a.log.max = ackedRequestsMax
	}
	return a
}

// note remembers a request of which samples were accepted, and returns how many of
// them had been before.
func (a *ackedRequests) note(f fingerprint, s *sender, accepted int, now time.Time) int {
	samples := uint32(accepted)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log.add(ackedRecord{f, samples})
	if have, ok := a.own.get(f); ok {
		again := min(have.samples, samples)
		if samples > have.samples {
			have.samples = samples
			a.own.put(f, have, now)
		}
		return int(again)
	}
	theirs, known := a.others.get(f)
	a.own.put(f, ackedRequest{s, samples, known}, now)
	return int(min(theirs, samples))
}

// hear takes what a member before this one answered.
func (a *ackedRequests) hear(r ackedRecord, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	have, ok := a.own.get(r.fingerprint)
	switch {
	case !ok:
		a.others.put(r.fingerprint, r.samples, now)
	case !have.known:
		have.known = true
		a.own.put(r.fingerprint, have, now)
		have.sender.addDuplicates(int(min(have.samples, r.samples)))
	}
}

// recent is a map that forgets: it has two generations, and drops the older one when
// the younger is full or old. So it remembers what was put last, at least
// ackedRequestsMax entries or for ackedAge. The zero value is empty.
type recent[V any] struct {
	young, old map[fingerprint]V
	since      time.Time // begin of the younger generation
}

func (m *recent[V]) get(f fingerprint) (V, bool) {
	v, ok := m.young[f]
	if !ok {
		v, ok = m.old[f]
	}
	return v, ok
}

func (m *recent[V]) put(f fingerprint, v V, now time.Time) {
	if m.young == nil || len(m.young) >= ackedRequestsMax || now.Sub(m.since) > ackedAge {
		m.young, m.old = m.old, m.young
		clear(m.young) // Keeps its memory.
		m.since = now
	}
	if m.young == nil {
		m.young = map[fingerprint]V{}
	}
	m.young[f] = v
}

// ackedRecord is what one member tells another of a request.
type ackedRecord struct {
	fingerprint fingerprint
	samples     uint32
}

// ackedRecordBytes is the size of a record between members.
const ackedRecordBytes = 20

func (r ackedRecord) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.fingerprint.hi)
	dst = binary.LittleEndian.AppendUint64(dst, r.fingerprint.lo)
	return binary.LittleEndian.AppendUint32(dst, r.samples)
}

func readAckedRecord(b []byte) ackedRecord {
	return ackedRecord{
		fingerprint{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])},
		binary.LittleEndian.Uint32(b[16:]),
	}
}

// ackedLog has the last max records in their order, for readers that are at different
// places in it. With a max of zero it keeps nothing.
type ackedLog struct {
	records []ackedRecord
	max     int
	next    uint64 // number of the record that comes next
}

func (l *ackedLog) add(r ackedRecord) {
	switch {
	case l.max == 0:
		return
	case len(l.records) < l.max:
		l.records = append(l.records, r)
	default:
		l.records[l.next%uint64(l.max)] = r
	}
	l.next++
}

// encodeFrom returns the records from the given number on, as far as they are still
// there, and the number after them.
func (a *ackedRequests) encodeFrom(from uint64) (body []byte, next uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &a.log
	if oldest := l.next - uint64(len(l.records)); from < oldest {
		from = oldest
	}
	for n := from; n < l.next; n++ {
		body = l.records[n%uint64(l.max)].append(body)
	}
	return body, l.next
}
