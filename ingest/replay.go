// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// HintReplayer sends the hints of a member in order until one fails, and goes on
// from there the next time.
type HintReplayer interface {
	Replay(ctx context.Context, member string, send func(ctx context.Context, payload []byte) error) (int, error)
}

// replayInterval is how soon hints follow a member's return. Hints that wait become
// too old for the member while new samples arrive, so it is short.
const replayInterval = time.Second

// Run replays hints to members that are back, and gives metadata to those that come,
// until the context ends. Members are independent of each other; to one member there
// is one replay at a time.
func (d *Distributor) Run(ctx context.Context) error {
	ticker := time.NewTicker(replayInterval)
	defer ticker.Stop()
	r := replayer{d: d, busy: map[string]bool{}}
	defer r.running.Wait()
	f := filler{d: d, given: map[string]struct{}{}}
	defer f.running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			view := d.cfg.View()
			d.peers.prune(view)
			r.startDue(ctx, view)
			f.tick(ctx, view)
		}
	}
}

type replayer struct {
	d       *Distributor
	running sync.WaitGroup
	mu      sync.Mutex
	busy    map[string]bool
}

func (r *replayer) startDue(ctx context.Context, view *ring.View) {
	for name, stats := range r.d.cfg.Hints.Pending() {
		m, known := view.Member(name)
		if stats.Records == 0 || !known {
			continue
		}
		if !canReplay(view, m) || !r.claim(name) {
			continue
		}
		r.running.Go(func() {
			defer r.unclaim(name)
			r.d.replayTo(ctx, view, m)
		})
	}
}

// canReplay tells whether the hints of a member can be delivered: to the member, if it
// takes writes, or to the owners after it, if it left.
func canReplay(view *ring.View, m ring.MemberStatus) bool {
	if m.State == ring.Left {
		return true
	}
	alive := m.Alive || m.Name == view.Self
	return alive && m.InRing() && m.State == ring.Active
}

func (r *replayer) claim(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[name] {
		return false
	}
	r.busy[name] = true
	return true
}

func (r *replayer) unclaim(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, name)
}

// replayTo replays the hints of one member until they are all sent or one fails.
func (d *Distributor) replayTo(ctx context.Context, view *ring.View, m ring.MemberStatus) {
	deliver := d.sendHint
	if m.State == ring.Left {
		deliver = d.passOnHint
	}
	n, err := d.cfg.Hints.Replay(ctx, m.Name, func(ctx context.Context, payload []byte) error {
		return deliver(ctx, view, m, payload)
	})
	d.metrics.hintsReplayed.Add(float64(n))
	switch {
	case n > 0 && err == nil:
		d.logger.Info("hints replayed", "member", m.Name, "hints", n)
	case err != nil && ctx.Err() == nil && !errors.Is(err, errCircuitOpen):
		d.logger.Warn("hint replay stopped; it goes on later", "member", m.Name, "hints", n, "err", err)
	}
}

// sendHint delivers one hint. Series that the member refuses now are counted and
// done: no later attempt can end differently. A hint whose owner has answered since
// is done too. An error keeps the hint.
func (d *Distributor) sendHint(ctx context.Context, view *ring.View, m ring.MemberStatus, payload []byte) error {
	if d.late.take(hintKeyOf(m.Name, payload)) {
		d.metrics.hintsLate.Inc()
		return nil
	}
	tenant, body, err := readHint(payload)
	if err != nil {
		return d.dropDamaged(m, payload, err)
	}
	var reply Reply
	if m.Name == view.Self {
		b, damage := d.hintBatch(tenant, body)
		if damage != nil {
			return d.dropDamaged(m, payload, damage)
		}
		defer b.release()
		// This member's own storage was slower than the quorum.
		reply = d.local.write(ctx, b, b.valid)
	} else {
		// The log may reuse the payload while a transport still reads the body.
		reply, err = d.peers.get(m.Member).push(ctx, tenant, ownBody(bytes.Clone(body)))
	}
	if err != nil {
		return err
	}
	return d.countHint(reply)
}

func (d *Distributor) countHint(r Reply) error {
	if r.All == Unavailable {
		return fmt.Errorf("member is unavailable: %s", r.Detail)
	}
	for _, f := range r.Faults {
		if f.Verdict == Unavailable {
			return fmt.Errorf("member is unavailable for a series: %s", f.Detail)
		}
	}
	if r.All == Rejected {
		d.metrics.hintsRefused.Inc()
	}
	d.metrics.hintsRefused.Add(float64(len(r.Faults)))
	return nil
}

// dropDamaged gives up a hint that cannot be read: it would be the same the next time,
// and all hints behind it would wait.
func (d *Distributor) dropDamaged(m ring.MemberStatus, payload []byte, err error) error {
	d.metrics.hintsDamaged.Inc()
	d.logger.Error("hint dropped", "member", m.Name, "bytes", len(payload), "err", err)
	return nil
}

// passOnHint delivers a hint of a member that left for good: the owners that came
// after it get the write, as if it had just been sent. Those that have it already lose
// nothing by getting it twice.
func (d *Distributor) passOnHint(ctx context.Context, _ *ring.View, m ring.MemberStatus, payload []byte) error {
	tenant, body, err := readHint(payload)
	if err != nil {
		return d.dropDamaged(m, payload, err)
	}
	b, err := d.hintBatch(tenant, body)
	if err != nil {
		return d.dropDamaged(m, payload, err)
	}
	defer b.release()
	o := d.Write(ctx, b)
	if o.Unavailable > 0 {
		return fmt.Errorf("owners of %d series are unavailable: %s", o.Unavailable, o.Cause)
	}
	d.metrics.hintsPassedOn.Inc()
	d.metrics.hintsRefused.Add(float64(len(o.Rejected)))
	return nil
}

// hintBatch reads the request in a hint. The caller releases the batch.
func (d *Distributor) hintBatch(tenant string, body []byte) (*Batch, error) {
	b := d.batches.get(tenant)
	if err := b.readHintBody(body, d.batches.limits.DecodedBytes); err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

func (b *Batch) readHintBody(body []byte, decodedMax int64) error {
	b.wireBuf = append(b.wireBuf, body...)
	n, err := decodedSize(b.wireBuf, decodedMax)
	if err != nil {
		return err
	}
	if b.bodyBuf, err = decompress(b.wireBuf, b.bodyBuf, n); err != nil {
		return err
	}
	return b.parse(protoV1, anyTime())
}

// anyTime are bounds for requests whose timestamps a coordinator has checked.
func anyTime() timeBounds { return timeBounds{min: math.MinInt64, max: math.MaxInt64} }
