// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/cmd/penstock/internal/workload"
)

const (
	// A load balancer gives up on a backend that hangs after a few seconds.
	demoSendTimeout = 5 * time.Second

	// The targets look as if they had been up for a while.
	demoTargetsAge = time.Hour
)

// demo is a running demo: nodes, the pair that writes to them, and the summary.
type demo struct {
	cfg      *demoConfig
	layout   *demoLayout
	screen   *demoScreen
	client   *http.Client
	nodes    []*demoNode
	replicas []*demoReplica
	started  time.Time
}

// demoReplica is one server of the HA pair.
type demoReplica struct {
	name     string
	protocol workload.Protocol
	series   int
	rate     rateWindow
	refused  uint64 // samples that the user has been told of
	*workload.Replica
}

// newDemo builds all parts and starts none.
func newDemo(cfg *demoConfig, layout *demoLayout, screen *demoScreen) *demo {
	d := &demo{
		cfg: cfg, layout: layout, screen: screen, started: time.Now(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}},
	}
	var urls []string
	for i, addrs := range layout.nodes {
		urls = append(urls, addrs.url()+"/api/v1/write")
		d.nodes = append(d.nodes, &demoNode{
			addrs:        addrs,
			command:      func() (*exec.Cmd, error) { return cfg.command(layout.args(i)...) },
			restartDelay: cfg.restartDelay,
			event:        d.event,
		})
	}
	// The second server scrapes two fifths of an interval after the first.
	d.replicas = []*demoReplica{
		d.newReplica("a", workload.V1, urls, 0),
		d.newReplica("b", workload.V2, urls, 2*cfg.scrapeInterval/5),
	}
	return d
}

func (d *demo) newReplica(name string, protocol workload.Protocol, urls []string, offset time.Duration) *demoReplica {
	fleet := workload.NewFleet(workload.FleetConfig{
		Series:   d.cfg.targets * workload.SeriesPerTarget,
		Scraped:  true,
		External: labels.FromStrings("cluster", "demo", demoReplicaLabel, name),
		Start:    d.started.Add(-demoTargetsAge),
	})
	sender := workload.NewSender(workload.SenderConfig{URLs: urls, Protocol: protocol, Timeout: demoSendTimeout})
	return &demoReplica{
		name: name, protocol: protocol, series: fleet.Len(),
		Replica: workload.NewReplica(workload.ReplicaConfig{
			Fleet: fleet, Protocol: protocol, Sender: sender, Interval: d.cfg.scrapeInterval, Offset: offset,
		}),
	}
}

// run starts everything and returns when ctx has ended, or a part failed, and
// all parts have stopped. The end of ctx is not an error. When patient ends,
// nodes that are still stopping are killed.
func (d *demo) run(ctx, patient context.Context) error {
	defer d.client.CloseIdleConnections()
	d.screen.print(fmt.Sprintf("Starting %d nodes ...", len(d.nodes)))
	g, running := errgroup.WithContext(ctx)
	for _, n := range d.nodes {
		g.Go(func() error { return n.run(running, patient) })
	}
	g.Go(func() error {
		for _, n := range d.nodes {
			if err := n.awaitReady(running, d.client); err != nil {
				return err
			}
		}
		d.screen.print(d.intro())
		for _, r := range d.replicas {
			g.Go(func() error { return r.Run(running) })
		}
		return d.watch(running)
	})
	g.Go(func() error {
		<-running.Done()
		d.screen.closeTable()
		d.screen.print("Stopping ...")
		return nil
	})
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// watch shows a summary every few seconds. It returns an error when it cannot
// be shown any more, and nil when ctx ends.
func (d *demo) watch(ctx context.Context) error {
	tick := time.NewTicker(d.screen.refresh)
	defer tick.Stop()
	for {
		summary := d.summarize(ctx)
		if ctx.Err() != nil {
			return nil
		}
		d.reportRefusals(summary)
		if err := d.screen.show(summary); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reportRefusals says so when a node has refused samples: that loses them, and
// must not happen here.
func (d *demo) reportRefusals(s demoSummary) {
	for i, r := range d.replicas {
		stats := s.senders[i].stats
		if stats.Failed == r.refused {
			continue
		}
		d.event(fmt.Sprintf("replica %s lost %d samples, the last refused with: %s", r.name, stats.Failed-r.refused, stats.LastRefusal))
		r.refused = stats.Failed
	}
}

// event shows something that happened; it stays above the summary.
func (d *demo) event(text string) {
	d.screen.print(time.Now().Format(time.TimeOnly) + " " + text)
}

// summarize asks all nodes at once. It must not run concurrently with itself.
func (d *demo) summarize(ctx context.Context) demoSummary {
	s := demoSummary{now: time.Now(), nodes: make([]demoNodeView, len(d.nodes))}
	s.elapsed = s.now.Sub(d.started)
	for _, r := range d.replicas {
		stats := r.Stats()
		s.senders = append(s.senders, demoSenderView{
			replica: r.name, protocol: r.protocol, series: r.series,
			perSecond: r.rate.add(s.now, stats.Samples), stats: stats,
		})
	}
	var wg sync.WaitGroup
	for i, n := range d.nodes {
		wg.Go(func() { s.nodes[i] = pollNode(ctx, d.client, n) })
	}
	wg.Wait()
	return s
}
