// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/ring"
)

// LocalWriter is the owner that this member is itself; Local is one.
type LocalWriter interface {
	Write(ctx context.Context, b *Batch, part []uint32) Reply
	ApplyMetadata(tenant string, entries []Metadata) []Metadata
}

// DistributorConfig configures a Distributor.
type DistributorConfig struct {
	// RF is the configured replication factor. Quorum is a majority of it, however
	// many members are alive.
	RF int
	// View returns the current snapshot of the ring; it is asked once per request.
	View  func() *ring.View
	Local LocalWriter
	// Client sends to other members; it adds what authenticates this one.
	Client *http.Client
	// Scheme is http or https, for the internal listeners.
	Scheme string
	Hints  HintLog
	// StragglerWait is how long an answer that is decided waits for the owners that
	// have not answered, before they get hints. Zero means DefaultStragglerWait.
	StragglerWait time.Duration
	// PeerTimeout bounds one request to another member. Zero means
	// DefaultPeerTimeout.
	PeerTimeout time.Duration
	// MaxInflightBytes bounds the bytes under way to one owner; what does not fit is
	// hinted. Zero means DefaultPeerInflightBytes.
	MaxInflightBytes int64
	// MinorityAfter is how long this member may go without seeing a majority of the
	// members before it refuses writes. Zero means DefaultMinorityAfter.
	MinorityAfter time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Defaults of DistributorConfig.
const (
	// DefaultStragglerWait covers a healthy peer that is a little behind the others,
	// and is short against what a sender notices.
	DefaultStragglerWait = 20 * time.Millisecond
	// DefaultPeerTimeout is well below the 30 s that senders wait.
	DefaultPeerTimeout = 5 * time.Second
	// DefaultPeerInflightBytes is some seconds of a busy member's traffic.
	DefaultPeerInflightBytes = 64 << 20
	// DefaultMinorityAfter is half of the time after which the majority side of a
	// partition forgets a member and gives its slots away.
	DefaultMinorityAfter = 15 * time.Minute
)

func (c DistributorConfig) withDefaults() DistributorConfig {
	setDefault(&c.RF, 1)
	setDefault(&c.StragglerWait, DefaultStragglerWait)
	setDefault(&c.PeerTimeout, DefaultPeerTimeout)
	setDefault(&c.MaxInflightBytes, DefaultPeerInflightBytes)
	setDefault(&c.MinorityAfter, DefaultMinorityAfter)
	if c.Scheme == "" {
		c.Scheme = "http"
	}
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Distributor gives every owner of a batch's series its part and decides per series
// what became of it. It starts goroutines only in Write and Run, and waits for them
// in Close. Safe for concurrent use.
type Distributor struct {
	cfg     DistributorConfig
	local   localOwner
	peers   peerSet
	states  atomic.Pointer[viewStates]
	batches batchPool      // for hints to this member itself, and for joined writes
	running sync.WaitGroup // owners that are still writing, metadata on its way
	late    deliveredHints
	logger  *slog.Logger
	metrics *distributorMetrics
}

// NewDistributor returns a Distributor. Run replays hints; Close waits for what is
// under way.
func NewDistributor(cfg DistributorConfig, logger *slog.Logger, reg prometheus.Registerer) *Distributor {
	cfg = cfg.withDefaults()
	d := &Distributor{cfg: cfg, logger: logger, batches: batchPool{limits: Limits{}.withDefaults().between()}}
	d.metrics = newDistributorMetrics(reg, d)
	d.local = localOwner{writer: cfg.Local, inflight: gate{limit: cfg.MaxInflightBytes}, metrics: d.metrics, logger: logger}
	d.peers = peerSet{cfg: &d.cfg, batches: &d.batches, logger: logger, metrics: d.metrics, byName: map[string]*peer{}}
	return d
}

// Close waits until no owner is being written to any more. Nothing may be written
// after it. Hints that were not replayed stay in their log.
func (d *Distributor) Close() { d.running.Wait() }

// Write gives every owner its part of b and returns once every series is decided:
// a quorum of its owners has it, or none can be reached any more. It returns what a
// sender may be told: before that, the owners that missed an accepted series have
// hints. Owners that are slower go on in the background. The context's values are
// used, its end is not: a sender that hangs up must not leave half a write.
func (d *Distributor) Write(ctx context.Context, b *Batch) Outcome {
	ctx = context.WithoutCancel(ctx)
	view := d.cfg.View()
	d.spreadMetadata(ctx, view, b)
	if len(b.valid) == 0 {
		return Outcome{}
	}
	states := d.statesOf(view)
	if cause := d.cannotWrite(view, states); cause != "" {
		d.metrics.refusedNoQuorum.Inc()
		return Outcome{Unavailable: len(b.valid), Cause: cause}
	}

	p := group(b, view.Ring)
	t := newTally(b, d.cfg.RF, p)
	pl := &payloads{batch: b}
	late := newLateAnswers(&d.late, len(p.shares))
	if len(p.shares) == 1 && states.members[p.shares[0].member].self {
		// A cluster of one, or RF=1: nobody else to wait for.
		t.record(&p.shares[0], d.local.write(ctx, b, p.shares[0].part))
	} else {
		d.collect(t, p, d.start(ctx, b, p, states.members, pl, late))
	}
	t.finish()

	o := t.outcome()
	if o.Unavailable == 0 {
		if p.width < d.cfg.RF {
			d.cfg.Hints.NoteShort(states.names)
		}
		o.Hinted = d.storeHints(b, p, t, states.members, pl, late)
	}
	return o
}

// cannotWrite says why no series can get a quorum now, or nothing.
func (d *Distributor) cannotWrite(view *ring.View, states *viewStates) string {
	need := quorum(d.cfg.RF)
	if states.alive < need {
		return fmt.Sprintf("have %d of %d members", states.alive, need)
	}
	if since := view.MinoritySince; !since.IsZero() && d.cfg.Now().Sub(since) > d.cfg.MinorityAfter {
		return "this member has not seen a majority of the cluster for too long"
	}
	return ""
}

// ownerReply is what the owner of a share said.
type ownerReply struct {
	share int
	reply Reply
}

// start sets every owner to work. Exactly one reply per share arrives on the
// channel, which has room for all of them: nobody waits for a reader that is gone.
func (d *Distributor) start(ctx context.Context, b *Batch, p plan, members []memberState, pl *payloads, late *lateAnswers) <-chan ownerReply {
	replies := make(chan ownerReply, len(p.shares))
	answer := func(n int, r Reply) {
		replies <- ownerReply{n, r}
		late.answered(n, r)
	}
	for n := range p.shares {
		sh := &p.shares[n]
		m := members[sh.member]
		switch {
		case m.self:
			d.background(b, func() {
				answer(n, d.local.write(ctx, b, sh.part))
			})
		case m.away:
			answer(n, Reply{All: down, Reason: ReasonDown, Detail: "an owner is down"})
		default:
			peer := d.peers.get(m.Member)
			if j, part := peer.joins.enter(b, sh.part); j != nil {
				d.background(b, func() { answer(n, peer.writeJoined(ctx, j, part)) })
				continue
			}
			// Peers need the bytes, so they are made before anyone starts.
			body := pl.of(sh.part)
			d.background(b, func() {
				defer peer.joins.leave()
				answer(n, peer.write(ctx, b, body, sh.part))
			})
		}
	}
	return replies
}

// background runs f, which uses b, in a goroutine that Close waits for.
func (d *Distributor) background(b *Batch, f func()) {
	b.retain()
	d.running.Go(func() {
		defer b.release()
		f()
	})
}

// collect records replies until every series is decided, and then a short while
// longer: an owner that answers now needs no hint.
func (d *Distributor) collect(t *tally, p plan, replies <-chan ownerReply) {
	timeout := time.NewTimer(d.cfg.PeerTimeout)
	defer timeout.Stop()
	left := len(p.shares)
	for left > 0 && t.undecided > 0 {
		select {
		case r := <-replies:
			t.record(&p.shares[r.share], r.reply)
			left--
		case <-timeout.C:
			return
		}
	}
	if left == 0 {
		return
	}
	timeout.Reset(d.cfg.StragglerWait)
	for left > 0 {
		select {
		case r := <-replies:
			t.record(&p.shares[r.share], r.reply)
			left--
		case <-timeout.C:
			d.metrics.stragglers.Add(float64(left))
			return
		}
	}
}
