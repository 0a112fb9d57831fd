// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/version"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
	"github.com/penstock-io/penstock/cmd/penstock/internal/memory"
	"github.com/penstock-io/penstock/compactor"
	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/blockstore"
	"github.com/penstock-io/penstock/querier/limit"
	"github.com/penstock-io/penstock/refill"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
	"github.com/penstock-io/penstock/uploader"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// publicWait is how long requests wait for a node to join its cluster and to list its
// bucket, which takes milliseconds where there are members and a bucket that answer.
// Else the node says itself what it lacks, and a health check must not wait longer than
// this for its answer.
const publicWait = time.Second

// readyPoll is how often a member that is starting looks whether its store is.
const readyPoll = 100 * time.Millisecond

// server is one node. newServer wires it, start opens its doors, stop closes
// it in order. The numbers are the order of construction:
//
//	    remote write                                  PromQL
//	         |                                          |
//	(10) public listener: mux, tenants, lifecycle endpoints
//	         |                                          |
//	 (7) ingest.Handler                          (9) querier/api
//	         |                                          |
//	 (6) ingest.Distributor -- (5) ingest/hint   (9) querier/dedup
//	    |    |         \                                |
//	    |  (4) ring     \ members over         (8) querier (fan-out)
//	    |                \ (10) internal          /     |      \
//	    |                 \ listener         members    |       \
//	 (1) tsdbstore <------------------------------------+        \
//	         |                                                    |
//	 (3) uploader --------> (2) bucket <----------- (2) querier/blockstore
//	                             ^
//	                       (9) compactor -- which groups: (4) ring
type server struct {
	*lifecycle
	cfg    *config
	logger *slog.Logger
	reg    *prometheus.Registry

	limits       *limits.Runtime
	memory       *memory.Guard
	identity     ring.Identity
	clusterKey   []byte
	auth         *ring.Auth
	client       *http.Client // to the other members
	scheme       string       // of the internal listeners
	members      membership
	cluster      *ring.Cluster // nil on a lone node
	store        *tsdbstore.Store
	blocks       *blockstore.Store    // nil without a bucket
	bucketBlocks *bucket.Blocks       // nil without a bucket
	uploader     *uploader.Uploader   // nil without a bucket
	blockIndex   *bucket.Index        // nil without a bucket
	compactor    *compactor.Compactor // nil without a bucket, and when it is off
	hints        *hint.Log
	metadata     *ingest.MetadataStore
	series       *ingest.SeriesCache
	ledger       *ingest.Ledger
	local        *ingest.Local
	distributor  *ingest.Distributor
	election     *ingest.Election // nil when it is off
	querier      *querier.Querier
	queries      *limit.Books
	data         *dataWatch
	introduction introduction

	// What status/config shows beside the limits.
	otlpInForce   promconfig.OTLPConfig
	bucketInForce bucket.Config // The zero value without a bucket.

	refiller *refill.Refiller

	redundant        prometheus.Gauge
	public, internal *listener
	stopping         atomic.Bool
	traffic          traffic
	draining         atomic.Bool // no writes any more; stays set once this member is LEFT

	drainMu  sync.Mutex
	drainRun *drainRun // the last one; nil before the first
}

func addRun(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	cmd := app.Command("run", "Run a node. This is what penstock does without a command.").Default()
	cfg := addNodeFlags(cmd)
	return cmd.FullCommand(), func(ctx context.Context, _ io.Writer) error {
		cfg.flags = flagValues(cmd)
		return runNode(ctx, cfg)
	}
}

// runNode runs a node until ctx ends or one of its parts fails.
func runNode(ctx context.Context, cfg *config) error {
	if err := cfg.finish(); err != nil {
		return err
	}
	logger := promslog.New(&cfg.log)
	hangups := notifyHangups() // Before anything that takes time: its default is to end the process.
	defer signal.Stop(hangups)
	memory.SetLimit(logger)
	memory.SetCollection()
	s, err := newServer(cfg, logger)
	if err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	s.background("reload", s.reloadOn(hangups))
	select {
	case <-ctx.Done():
		logger.Info("stopping", "reason", "signal")
		return s.stop()
	case err := <-s.failed:
		logger.Error("stopping", "reason", "a part of the node failed", "err", err)
		return errors.Join(err, s.stop())
	}
}

// newServer wires a node. Nothing runs yet but its listeners and gossip socket
// are bound. On an error everything that was opened is closed again.
func newServer(cfg *config, logger *slog.Logger) (_ *server, err error) {
	s := &server{
		lifecycle: newLifecycle(logger),
		cfg:       cfg,
		logger:    logger,
		reg:       prometheus.NewRegistry(),
	}
	s.reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("penstock"),
	)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, wire := range []func() error{
		s.openLimits,
		s.openStorage,
		s.openBucket,
		s.bind,
		s.openRing,
		s.wireQueries,
		s.wireWrites,
		s.wireReads,
		s.wireRefill,
		s.wireCompaction,
		s.mount,
	} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	logger.Info("node wired", "version", version.Info(), "member", s.identity.Name,
		"replication_factor", cfg.cluster.replicationFactor, "bucket", s.blocks != nil)
	return s, nil
}

// openStorage takes the data directory and opens the parts that live in it.
func (s *server) openStorage() error {
	cfg := s.cfg
	if err := checkDataDir(cfg.storage.path); err != nil {
		return err
	}
	if err := checkNotDrained(cfg.storage.path); err != nil {
		return err
	}
	var err error
	if s.identity, err = ring.LoadIdentity(cfg.storage.path, cfg.cluster.name); err != nil {
		return err
	}
	s.store, err = tsdbstore.Open(tsdbstore.Config{
		Dir:              filepath.Join(cfg.storage.path, "tsdb"),
		BlockDuration:    time.Duration(cfg.storage.blockDuration),
		OutOfOrderWindow: time.Duration(cfg.storage.outOfOrderWindow),
		Retention:        time.Duration(cfg.storage.retention),
		ZeroAtStart:      cfg.ingest.zeroInjection,
		WALSync:          cfg.storage.walSync,
		MinFreeBytes:     minFree(cfg.storage.minFreeBytes),
		Member:           s.identity.Name,
		Held:             s.heldFunc(),
		Limits:           s.storeLimits,
		AdmitSeries:      s.memory.AdmitSeries,
	}, s.logger.With("component", "tsdb"), s.reg)
	if err != nil {
		return err
	}
	s.onStop("close tsdb", s.store.Close)

	s.metadata, err = ingest.OpenMetadata(ingest.MetadataConfig{Dir: filepath.Join(cfg.storage.path, "metadata")}, s.logger.With("component", "metadata"), s.reg)
	return err
}

// minFree is the low-water mark as the store takes it: there 0 is the default.
func minFree(flag units.Base2Bytes) int64 {
	if flag <= 0 {
		return -1
	}
	return int64(flag)
}

// start joins the cluster, serves the listeners and starts the background loops.
// It returns as soon as the node can answer; replay goes on behind it and /-/ready
// tells when it is done. An error means that the node must not run: a port that
// cannot be served or a cluster that refuses it.
func (s *server) start(ctx context.Context) error {
	s.serve(s.internal)
	if s.blocks != nil {
		s.background("block index", s.blocks.Run)
	}
	if err := s.openPublic(ctx); err != nil {
		return err
	}
	if s.cluster != nil {
		s.background("ring", s.cluster.Run)
		s.background("redundancy", s.watchRedundancy)
		s.background("lost hints", s.tellLosses)
		s.background("introduction", s.introduce)
	}
	s.background("memory guard", s.memory.Run)
	s.background("queries", s.queries.Run)
	s.background("garbage", memory.NewPacer(s.memoryLimit(), s.queries.Computing).Run)
	s.background("metadata", s.metadata.Run)
	s.background("series cache", s.series.Run)
	s.background("senders", s.ledger.Run)
	s.background("replay", s.replay)
	s.background("hint replay", s.distributor.Run)
	s.onStop("announce leaving", s.announceLeaving)
	s.startElection()
	s.logger.Info("listening", "public", s.public.addr(), "internal", s.internal.addr())
	return nil
}

// openPublic joins the cluster and serves the public listener. A restarted member
// whom nobody has missed yet is sent requests as soon as its port is open, and one that
// knows neither the others nor the bucket refuses them all. So they wait for that, for
// publicWait at most: the port is bound, and the kernel keeps the connections meanwhile.
func (s *server) openPublic(ctx context.Context) error {
	joined := make(chan error, 1)
	go func() {
		if s.cluster == nil {
			joined <- nil
			return
		}
		joined <- s.cluster.Join(ctx)
	}()
	wait, cancel := context.WithTimeout(ctx, publicWait)
	defer cancel()
	pending := true
	select {
	case err := <-joined:
		if err != nil {
			return err
		}
		pending = false
	case <-wait.Done():
	}
	if s.blocks != nil {
		select {
		case <-s.blocks.Tried():
		case <-wait.Done():
		}
	}
	s.serve(s.public)
	if pending {
		return <-joined
	}
	return nil
}

// replay opens the local TSDBs and runs the loops that need them. This member
// turns ACTIVE when all of them are open; a tenant that cannot be opened keeps it
// JOINING, so that queries count it as missing, while the store tries again.
func (s *server) replay(ctx context.Context) error {
	start := time.Now()
	if err := s.store.Replay(ctx); err != nil && ctx.Err() == nil {
		s.logger.Error("some tenants cannot be opened, trying again", "err", err)
	}
	loops := []func(context.Context) error{s.store.Run, func(ctx context.Context) error {
		return s.activate(ctx, start)
	}}
	if s.uploader != nil {
		loops = append(loops, s.uploader.Run)
	}
	return runAll(ctx, loops)
}

// activate waits until every TSDB is open and lets this member take its part. From then on it
// is given back what it has lost, and works on the bucket.
func (s *server) activate(ctx context.Context, start time.Time) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !s.store.Ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	s.logger.Info("ready", "tenants", len(s.store.Tenants()), "replay_seconds", time.Since(start).Seconds())
	if err := s.takeStock(ctx); err != nil {
		return nil // Stopped.
	}
	switch err := s.members.SetState(ring.Active); {
	case errors.Is(err, ring.ErrToldLate):
		s.logger.Warn("the members are not told yet that this one takes part", "err", err)
	case err != nil:
		return err
	}
	loops := []func(context.Context) error{s.data.run, s.refiller.Run}
	if s.compactor != nil {
		loops = append(loops, s.compactor.Run)
	}
	return runAll(ctx, loops)
}

// runAll runs loops until the first one fails or ctx ends, and waits for all.
func runAll(ctx context.Context, loops []func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(loops))
	for _, loop := range loops {
		go func() { errs <- loop(ctx) }()
	}
	var first error
	for range loops {
		if err := <-errs; err != nil && first == nil && ctx.Err() == nil {
			first = err
			cancel()
		}
	}
	return first
}

// ready says why this node must not get traffic, or nothing.
func (s *server) ready() error {
	if s.stopping.Load() {
		return errors.New("stopping")
	}
	if s.draining.Load() {
		return errDraining
	}
	if !s.store.Ready() {
		opened, total := s.store.Status()
		return fmt.Errorf("replaying the write-ahead log: %d of %d tenants open", opened, total)
	}
	if self, known := s.members.View().Member(s.identity.Name); known && self.State == ring.Joining {
		return errors.New("joining the ring") // Until then its own queries count it as missing.
	}
	return s.unknownTo()
}
