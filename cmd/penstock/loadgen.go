// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/cmd/penstock/internal/workload"
)

// How often loadgen says on stderr that it is retrying; without it a receiver
// that is down would look like a load that takes long.
const loadgenComplainInterval = 5 * time.Second

// loadgenConfig is what the flags of `penstock loadgen` set.
type loadgenConfig struct {
	urls        []string
	series      int
	ticks       int
	warmupTicks int
	batch       int
	connections int
	protocol    string
	replica     string
	interval    model.Duration
	end         string
	rate        float64
	pids        []int
}

// addLoadgen declares `penstock loadgen`, which measures a remote-write
// receiver: everything is encoded and compressed before the clock starts, so
// the timed part is little more than writing bytes to sockets.
func addLoadgen(app *kingpin.Application) (name string, run func(ctx context.Context, out io.Writer) error) {
	cfg := &loadgenConfig{}
	loadgen := app.Command("loadgen", "Make load: requests to receivers, or blocks.")
	cmd := loadgen.Command("send", "Send pre-encoded remote-write load to receivers and print what it cost as one line of JSON. What loadgen does without a command.").Default()
	cmd.Flag("url", "Remote-write URL. Repeatable; requests go to the URLs by turns.").
		Default("http://127.0.0.1:9009/api/v1/write").StringsVar(&cfg.urls)
	cmd.Flag("series", "Number of series.").Default("100000").IntVar(&cfg.series)
	cmd.Flag("ticks", "Scrapes of all series that are sent and measured.").Default("2").IntVar(&cfg.ticks)
	cmd.Flag("warmup-ticks", "Scrapes that are sent before them and not measured. With 0 the creation of the series is part of the figures.").
		Default("0").IntVar(&cfg.warmupTicks)
	cmd.Flag("batch", "Samples per request.").Default("2000").IntVar(&cfg.batch)
	cmd.Flag("connections", "Connections, each with one request in flight.").Default("4").IntVar(&cfg.connections)
	cmd.Flag("protocol", "Remote write protocol: 1.0 or 2.0.").Default("1.0").EnumVar(&cfg.protocol, "1.0", "2.0")
	cmd.Flag("replica", "Value of the replica label; two runs with different values make an HA pair.").Default("a").StringVar(&cfg.replica)
	cfg.interval = model.Duration(15 * time.Second)
	cmd.Flag("end", "Time of the last scrape (RFC 3339). With the same one every run sends the same bytes. Default: now.").StringVar(&cfg.end)
	cmd.Flag("interval", "Time between the timestamps of two scrapes.").Default("15s").SetValue(&cfg.interval)
	cmd.Flag("rate", "Samples per second over all connections. 0: as fast as the receiver answers.").Default("0").Float64Var(&cfg.rate)
	cmd.Flag("pid", "Process of the receiver, for its CPU and memory (Linux). Repeatable; the figures are sums.").IntsVar(&cfg.pids)
	return cmd.FullCommand(), cfg.run
}

func (c *loadgenConfig) check() error {
	for flag, n := range map[string]int{
		"--series": c.series, "--ticks": c.ticks, "--batch": c.batch, "--connections": c.connections, "--interval": int(c.interval),
	} {
		if n <= 0 {
			return fmt.Errorf("%s must be above 0", flag)
		}
	}
	if c.warmupTicks < 0 || c.rate < 0 {
		return errors.New("--warmup-ticks and --rate must not be below 0")
	}
	for _, s := range c.urls {
		if u, err := url.Parse(s); err != nil || u.Scheme == "" || u.Host == "" {
			return fmt.Errorf("--url=%q is not a URL such as http://127.0.0.1:9009/api/v1/write", s)
		}
	}
	return nil
}

func (c *loadgenConfig) run(ctx context.Context, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	end := time.Now()
	if c.end != "" {
		var err error
		if end, err = time.Parse(time.RFC3339, c.end); err != nil {
			return fmt.Errorf("--end: %w", err)
		}
	}
	load, err := c.build(end)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.connections, DisableCompression: true}}
	defer client.CloseIdleConnections()

	if err := c.deliver(ctx, c.sender(client), load.Warmup); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	meter, err := startMeter(c.pids)
	if err != nil {
		return err
	}
	sender := c.sender(client)
	if err := c.deliver(ctx, sender, load.Timed); err != nil {
		return err
	}
	used, err := meter.stop()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(c.report(sender.Stats(), used))
}

// build encodes the whole load. Its timestamps end at the given time, which must be
// about now: a receiver takes neither samples from the future nor ones from before its
// window.
func (c *loadgenConfig) build(end time.Time) (*workload.Load, error) {
	fleet := workload.NewFleet(workload.FleetConfig{
		Series:   c.series,
		External: labels.FromStrings("cluster", "loadgen", "replica", c.replica),
		// A fixed start makes the value of a series at a moment the same in every
		// run, so that a run over times of an earlier one repeats its samples
		// instead of contradicting them.
		Start: time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC),
	})
	return workload.BuildLoad(workload.LoadConfig{
		Fleet:       fleet,
		Ticks:       c.ticks,
		Warmup:      c.warmupTicks,
		Interval:    time.Duration(c.interval),
		End:         end.Truncate(time.Duration(c.interval)),
		Protocol:    workload.Protocol(c.protocol),
		Batch:       c.batch,
		Connections: c.connections,
	})
}

func (c *loadgenConfig) sender(client *http.Client) *workload.Sender {
	return workload.NewSender(workload.SenderConfig{URLs: c.urls, Protocol: workload.Protocol(c.protocol), Client: client})
}

// deliver sends the requests of all connections at once and returns when all
// are taken or one is refused.
func (c *loadgenConfig) deliver(ctx context.Context, sender *workload.Sender, connections [][]workload.Request) error {
	g, running := errgroup.WithContext(ctx)
	start := time.Now()
	for _, requests := range connections {
		g.Go(func() error {
			sent := 0
			for _, r := range requests {
				if err := c.pace(running, start, sent); err != nil {
					return err
				}
				if err := sender.Send(running, r); err != nil {
					return err
				}
				sent += r.Samples
			}
			return nil
		})
	}
	done := make(chan struct{})
	complained := make(chan struct{})
	go func() {
		defer close(complained)
		complain(done, sender)
	}()
	err := g.Wait()
	close(done)
	<-complained
	return err
}

// pace waits until a connection that has sent so many samples since start may
// go on without exceeding its share of --rate.
func (c *loadgenConfig) pace(ctx context.Context, start time.Time, sent int) error {
	if c.rate == 0 {
		return nil
	}
	share := c.rate / float64(c.connections)
	due := start.Add(time.Duration(float64(sent) / share * float64(time.Second)))
	return sleepUntil(ctx, due)
}

// complain reports new retries on stderr until done is closed.
func complain(done <-chan struct{}, sender *workload.Sender) {
	tick := time.NewTicker(loadgenComplainInterval)
	defer tick.Stop()
	var known uint64
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if s := sender.Stats(); s.Retries > known {
				known = s.Retries
				fmt.Fprintf(os.Stderr, "penstock loadgen: %d requests sent, %d retries, the last for: %s\n", s.Requests, s.Retries, s.LastError)
			}
		}
	}
}
