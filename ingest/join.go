// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"sync"
	"time"
)

// A write of a hundred samples costs a peer more in the request than in the samples.
// So while a request is under way to a peer, small writes for it wait for each other
// and leave as one when that request is done. Requests are remote write, whose
// concatenation is a request too: the peer sees one of an ordinary kind, and the
// verdicts of its series are given back to the writes they came from. When nothing is
// under way nothing waits.

const (
	// joinPartBytesMax is the largest decompressed write that is joined: 200 samples of
	// 300 bytes. In larger ones the samples outweigh the request.
	joinPartBytesMax = 64 << 10
	// joinBytesMax and joinWritesMax bound what one request joins: about as much as a
	// sender's usual batch of 2,000 samples.
	joinBytesMax  = 512 << 10
	joinWritesMax = 64
	// joinWait is how long a write waits for the request before it, at most: one that
	// hangs must not hold up what could pass it on another connection.
	joinWait = 5 * time.Millisecond
)

// joinQueue has the small writes that wait to go to one peer. Safe for concurrent use.
type joinQueue struct {
	mu      sync.Mutex
	running int // requests under way
	waiting map[string]*joinedWrite
}

// joinedWrite is one request in the making, of one tenant. Its first part sends it.
type joinedWrite struct {
	tenant string
	parts  []joinedPart // fixed once it has left the queue
	bytes  int
	start  chan struct{} // closed when it leaves the queue
	done   chan struct{} // closed when every part has its reply
}

type joinedPart struct {
	batch *Batch
	part  []uint32
	reply Reply
}

// enter tells how the part of b is to be sent: with a nil joinedWrite by itself, and
// then leave must follow; else as the n-th part of that.
func (q *joinQueue) enter(b *Batch, part []uint32) (j *joinedWrite, n int) {
	size := b.bytesOf(part)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running == 0 || size > joinPartBytesMax {
		q.running++
		return nil, 0
	}
	j = q.waiting[b.Tenant]
	if j != nil && (j.bytes+size > joinBytesMax || len(j.parts) == joinWritesMax) {
		q.release(j)
		j = nil
	}
	if j == nil {
		j = &joinedWrite{tenant: b.Tenant, start: make(chan struct{}), done: make(chan struct{})}
		if q.waiting == nil {
			q.waiting = map[string]*joinedWrite{}
		}
		q.waiting[b.Tenant] = j
	}
	j.parts = append(j.parts, joinedPart{batch: b, part: part})
	j.bytes += size
	return j, len(j.parts) - 1
}

// release takes j out of the queue to be sent. q.mu is held.
func (q *joinQueue) release(j *joinedWrite) {
	delete(q.waiting, j.tenant)
	q.running++
	close(j.start)
}

// leave notes that a request is done, and lets another one start.
func (q *joinQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	for _, j := range q.waiting {
		q.release(j)
		return
	}
}

// awaitStart returns when j has left the queue, and takes it out after joinWait.
func (q *joinQueue) awaitStart(j *joinedWrite) {
	timer := time.NewTimer(joinWait)
	defer timer.Stop()
	select {
	case <-j.start:
		return
	case <-timer.C:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting[j.tenant] == j {
		q.release(j)
	}
}

// bytesOf estimates the decompressed size of the request for a part.
func (b *Batch) bytesOf(part []uint32) int {
	total := max(int64(len(b.body)), b.expanded)
	return int(total * int64(len(part)) / int64(max(1, len(b.series))))
}

// writeJoined is write for the n-th part of j. The batches of all parts are held by
// those who wait for their replies.
func (p *peer) writeJoined(ctx context.Context, j *joinedWrite, n int) Reply {
	if n > 0 {
		<-j.done
		return j.parts[n].reply
	}
	p.joins.awaitStart(j)
	defer close(j.done)
	defer p.joins.leave()
	p.sendJoined(ctx, j)
	return j.parts[0].reply
}

func (p *peer) sendJoined(ctx context.Context, j *joinedWrite) {
	reply, err := p.trySendJoined(ctx, j)
	if err == nil {
		err = j.share(reply)
	}
	if err != nil {
		reply = p.failed(err)
		for n := range j.parts {
			j.parts[n].reply = reply
		}
		return
	}
	p.metrics.peerRequests.WithLabelValues(peerAnswered).Inc()
	p.metrics.peerJoined.Add(float64(len(j.parts)))
}

func (p *peer) trySendJoined(ctx context.Context, j *joinedWrite) (Reply, error) {
	first := &j.parts[0]
	if b := first.batch; len(j.parts) == 1 && len(first.part) == len(b.valid) && b.wire != nil {
		return p.send(ctx, b, payload{b.wire, b.proto}) // Nobody came: as it is.
	}
	carrier := p.batches.get(j.tenant)
	defer carrier.release()
	return p.send(ctx, carrier, payload{carrier.join(j), protoV1})
}

// join builds the request of all parts of j in the memory of b.
func (b *Batch) join(j *joinedWrite) []byte {
	b.concat = b.concat[:0]
	for n := range j.parts {
		from, part := j.parts[n].batch, j.parts[n].part
		if len(part) == len(from.valid) && from.wire != nil && from.proto == protoV1 {
			b.concat = append(b.concat, from.body...)
		} else {
			b.concat = from.appendRequestUsing(b.concat, part, &b.scratch)
		}
	}
	return b.compressConcat()
}

// share gives every part what the reply says of it.
func (j *joinedWrite) share(reply Reply) error {
	faults, from := reply.Faults, uint32(0)
	for n := range j.parts {
		p := &j.parts[n]
		own := Reply{All: reply.All, Reason: reply.Reason, Detail: reply.Detail}
		to := from + uint32(len(p.part))
		for len(faults) > 0 && faults[0].Pos < to {
			f := faults[0]
			f.Pos -= from // One out of order becomes huge, and is found below.
			own.Faults = append(own.Faults, f)
			faults = faults[1:]
		}
		if err := own.checkAgainst(p.batch, p.part); err != nil {
			return err
		}
		p.reply, from = own, to
	}
	if len(faults) > 0 {
		return errPushReply
	}
	return nil
}
