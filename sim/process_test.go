// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/dedup"
	"github.com/penstock-io/penstock/ring"
)

// replicaLabel tells the two senders of the HA pair apart.
const replicaLabel = "replica"

// process is one run of one member: the real write and read path, wired as cmd/penstock
// does, over the simulated disk, network, clock and membership.
type process struct {
	w    *world
	host *host
	disk *disk
	addr string // name.number; the number is that of the run if hosts move.
	run  int    // Which process of its host.
	// bootID names the start of the machine.
	bootID string
	skew   time.Duration

	died    chan struct{} // Closed when it is killed.
	killed  atomic.Bool
	gone    chan struct{} // Closed when nothing of it runs any more.
	running sync.WaitGroup
	stop    context.CancelFunc

	pauseMu sync.Mutex
	resume  chan struct{} // Nil while it runs.

	store   *store
	log     *hint.Log
	hints   *hints
	members *membership
	dist    *ingest.Distributor
	public  http.Handler
	inner   *http.ServeMux
	raw     *querier.Querier
	deduped storage.SampleAndChunkQueryable
}

// gate waits while the process is paused, and fails when it is dead. Every step that
// anyone else can notice passes it.
func (p *process) gate() error {
	for {
		if p.killed.Load() {
			return errDead
		}
		p.pauseMu.Lock()
		resume := p.resume
		p.pauseMu.Unlock()
		if resume == nil {
			return nil
		}
		select {
		case <-resume:
		case <-p.died:
			return errDead
		}
	}
}

func (p *process) pause(on bool) {
	p.pauseMu.Lock()
	defer p.pauseMu.Unlock()
	switch {
	case on && p.resume == nil:
		p.resume = make(chan struct{})
	case !on && p.resume != nil:
		close(p.resume)
		p.resume = nil
	}
}

func (p *process) paused() bool {
	p.pauseMu.Lock()
	defer p.pauseMu.Unlock()
	return p.resume != nil
}

// reach passes a crash point: a plan may want the process to die here.
func (p *process) reach(point string) error {
	if err := p.gate(); err != nil {
		return err
	}
	n := p.w.events.hit(point)
	if p.w.wantsCrash(p.host.name, point, n) {
		p.w.events.add("%s dies at %s", p.host.name, point)
		p.w.events.killed(point)
		p.kill()
		p.host.restartLater(p.w.plan.seed.rand("restart", p.host.name, n))
		return errDead
	}
	return nil
}

// endpoint is the process as the origin of requests.
func (p *process) endpoint() endpoint { return endpoint{p.host.name, p.gate, p.died} }

// RoundTrip implements http.RoundTripper for the members' client.
func (p *process) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.w.exchange(req.Context(), p.endpoint(), req.URL.Host, req)
}

// now is the clock of the host, which may be wrong.
func (p *process) now() time.Time { return time.Now().Add(p.skew) }

// serve answers a request, or breaks the connection: nil.
func (p *process) serve(ctx context.Context, req *http.Request, body []byte) *http.Response {
	if p.gate() != nil {
		return nil
	}
	h, point := http.Handler(p.inner), "peer.answer"
	if req.URL.Path == pathWrite {
		h, point = p.public, "ack"
	}
	resp := serveRecorded(ctx, h, req, body)
	if p.reach(point+".before") != nil {
		return nil
	}
	return resp
}

const pathWrite = "/api/v1/write"

// start wires the process and begins its loops. The disk is not loaded yet.
func (p *process) start(ctx context.Context) error {
	safe := p.w.safety
	quiet := slog.New(slog.DiscardHandler)
	p.store = newStore(p.disk, !safe.failStopOff, p.w.plan.syncs, p.reach)
	p.store.note = func(format string, args ...any) { p.w.events.detail("    "+p.addr+" commits "+format, args...) }
	var err error
	if safe.bootIDOff {
		p.bootID = ""
	}
	p.hints = &hints{p: p, off: safe.hintsOff, turn: make(chan struct{}, 1)}
	if p.log, err = hint.Open(hint.Config{
		Dir: p.disk.hintDir, Sync: p.w.plan.syncs, BootID: p.bootID, Room: p.hints.room, Now: p.now,
	}, quiet, nil); err != nil {
		return err
	}
	p.hints.log = p.log
	p.members = newMembership(p)

	client := &http.Client{Transport: p}
	cache := ingest.NewSeriesCache(ingest.CacheConfig{}, nil)
	local := ingest.NewLocal(ingest.LocalConfig{Store: p.store, Ready: p.takesWrites, Now: p.now}, nil)
	rf := p.w.plan.rf
	if safe.quorumOne {
		rf = 1
	}
	p.dist = ingest.NewDistributor(ingest.DistributorConfig{
		RF: rf, View: p.members.View, Local: local, Client: client, Hints: p.hints,
		MinorityAfter: p.w.plan.forgetAfter / 2, Now: p.now,
	}, quiet, nil)
	p.public = ingest.NewHandler(ingest.HandlerConfig{Writer: p.dist, Tenant: oneTenant, Cache: cache, Now: p.now}, quiet, nil)
	p.inner = http.NewServeMux()
	p.inner.Handle(ingest.PathInternalWrite, ingest.NewInternalHandler(ingest.InternalHandlerConfig{Local: local, Tenant: oneTenant, Cache: cache}, quiet, nil))
	p.inner.Handle("/internal/v1/", querier.NewPeerHandler(p.readConfig(), quiet, nil))
	p.inner.HandleFunc(pathLoss, p.takeLoss)
	p.inner.Handle(ring.PathIntroduce, ring.IntroduceHandler(p.members.View, p.members.persist))
	p.raw = querier.New(querier.Config{Local: p.store, Members: p.membership, Client: client}, quiet, nil)
	p.deduped = dedup.Queryable(p.raw, dedup.Config{ReplicaLabels: []string{replicaLabel}})

	ctx, p.stop = context.WithCancel(ctx)
	p.running.Go(func() { p.work(ctx) })
	p.running.Go(func() { p.members.run(ctx) })
	p.running.Go(func() { _ = p.dist.Run(ctx) }) // Ends with ctx.
	p.running.Go(func() { p.refill(ctx) })
	p.running.Go(func() { p.tellLosses(ctx, client) })
	p.running.Go(func() { p.introduce(ctx, ring.Introducer{View: p.members.View, Client: client}) })
	go p.bury(ctx)
	return nil
}

// work replays the write logs, takes part, and does the housekeeping of tsdbstore.
func (p *process) work(ctx context.Context) {
	if p.endpoint().sleep(ctx, p.host.replayTime()) != nil {
		return
	}
	p.store.open()
	if p.reach("store.replayed") != nil {
		return
	}
	p.members.setState(ring.Active)
	p.w.events.add("%s is active, %d losses", p.host.name, p.disk.lossCount())
	e := p.endpoint()
	for e.sleep(ctx, time.Second) == nil {
		if p.store.mend() {
			p.w.events.add("%s reopened its TSDB", p.host.name)
		}
		if p.host.writesBack() {
			p.disk.sync()
		}
	}
}

// readConfig is what the process serves to the others.
func (p *process) readConfig() querier.PeerHandlerConfig {
	cfg := querier.PeerHandlerConfig{Local: p.store, Tenant: oneTenant, Members: p.membership}
	if p.w.safety.testimonyOff {
		cfg.Members = nil
	}
	return cfg
}

// takesWrites is whether the storage is open and enough members know this one.
func (p *process) takesWrites() bool {
	return p.store.Ready() && (!p.disk.newcomer.Load() || p.w.safety.introductionOff)
}

// introduce asks the others whether they know this one until enough do.
func (p *process) introduce(ctx context.Context, i ring.Introducer) {
	e := p.endpoint()
	for p.disk.newcomer.Load() && e.sleep(ctx, 200*time.Millisecond) == nil {
		introduced, _ := i.Ask(ctx)
		if !introduced || p.reach("introduced") != nil {
			continue
		}
		p.disk.newcomer.Store(false)
		p.host.introduced.Store(true)
		p.members.setSettled()
		p.w.events.add("%s is introduced", p.host.name)
	}
}

// bury waits for the end of the process.
func (p *process) bury(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-p.died:
	}
	p.stop()
	p.running.Wait()
	p.dist.Close()
	closeKilled(p.log, p.disk.hintDir)
	close(p.gone)
}

// kill ends the process at once. Nothing of it has an effect after kill returns.
func (p *process) kill() {
	if !p.killed.Swap(true) {
		close(p.died)
		p.host.forget(p)
	}
}

// membership is the view in the words of the read path, as cmd/penstock translates it.
func (p *process) membership() querier.Membership {
	view := p.members.View()
	out := querier.Membership{RF: view.Ring.RF(), Newcomer: p.disk.newcomer.Load() && !p.w.safety.introductionOff}
	if since := view.MinoritySince; !since.IsZero() {
		out.CutOff = p.now().Sub(since) > p.w.plan.forgetAfter/2
	}
	for _, m := range view.Members {
		if m.State == ring.Left {
			continue
		}
		lacks := ""
		if !m.Whole() {
			lacks = "lost data"
		}
		member := querier.Member{
			Name: m.Name, Zone: m.Zone, URL: "http://" + m.InternalAddr, Self: m.Name == view.Self,
			Alive: m.Alive, Serving: m.State == ring.Active || m.State == ring.Leaving, Forgotten: m.Forgotten, Lacks: lacks,
		}
		if !p.w.safety.generationOff {
			member.Generation, member.Replaced, member.Refilled = m.Generation, m.Replaced, m.Refilled
		}
		out.Members = append(out.Members, member)
	}
	return out
}

func oneTenant(*http.Request) (string, error) { return tenant, nil }

const tenant = "sim"
