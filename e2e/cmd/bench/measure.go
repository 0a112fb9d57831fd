// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/penstock-io/penstock/e2e/lab"
)

// scrapeInterval is between the timestamps of two ticks of the load.
const scrapeInterval = 15 * time.Second

// bench runs cases one after the other.
type bench struct {
	cfg config
	dir string
	end time.Time // of the warm load
	n   int       // cases run
}

// result is what one case came to.
type result struct {
	benchCase
	cold, warm float64 // CPU microseconds per sample, of all processes
	rssMB      float64 // of all processes, at most
	peerBytes  float64 // between members, per sample
	retries    int
}

// load is what loadgen reports of one load.
type load struct {
	Samples            float64 `json:"samples"`
	Retries            int     `json:"retries"`
	CPUMicrosPerSample float64 `json:"cpu_us_per_sample"`
	MaxRSSMB           float64 `json:"max_rss_mb"`
}

// measure starts the receivers of a case, sends them the cold load and then the warm one, and stops them.
func (b *bench) measure(ctx context.Context, c benchCase) (r result, err error) {
	b.n++
	dir := filepath.Join(b.dir, strconv.Itoa(b.n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return r, fmt.Errorf("create the directory of the receivers: %w", err)
	}
	s := &lab.Servers{Dir: dir, Prometheus: b.cfg.prometheus, Penstock: b.cfg.penstock}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if c.receiver == prometheus {
		err = s.StartPrometheus(ctx)
	} else {
		err = s.StartPenstock(ctx, c.nodes)
	}
	if err != nil {
		return r, err
	}
	warmTime := time.Duration(c.ticks) * scrapeInterval
	cold, err := b.send(ctx, c, s, b.end.Add(-warmTime))
	if err != nil {
		return r, err
	}
	warm, err := b.send(ctx, c, s, b.end)
	if err != nil {
		return r, err
	}
	r = result{
		benchCase: c, cold: cold.CPUMicrosPerSample, warm: warm.CPUMicrosPerSample,
		rssMB: max(cold.MaxRSSMB, warm.MaxRSSMB), retries: cold.Retries + warm.Retries,
	}
	if c.nodes > 1 {
		sent, err := peerBytesOf(s)
		if err != nil {
			return r, err
		}
		r.peerBytes = sent / (cold.Samples + warm.Samples)
	}
	return r, nil
}

// send sends one load with loadgen, which measures the servers.
func (b *bench) send(ctx context.Context, c benchCase, s *lab.Servers, end time.Time) (load, error) {
	args := []string{
		"loadgen", "--series=" + strconv.Itoa(b.cfg.series), "--ticks=" + strconv.Itoa(c.ticks),
		"--protocol=" + c.protocol, "--end=" + end.Format(time.RFC3339), "--interval=" + scrapeInterval.String(),
	}
	for _, url := range s.WriteURL {
		args = append(args, "--url="+url)
	}
	for _, p := range s.Running {
		args = append(args, "--pid="+strconv.Itoa(p.Process.Pid))
	}
	cmd := exec.CommandContext(ctx, b.cfg.penstock, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return load{}, fmt.Errorf("loadgen: %w: %s", err, stderr.String())
	}
	var l load
	if err := json.Unmarshal(stdout.Bytes(), &l); err != nil {
		return load{}, fmt.Errorf("parse the report of loadgen: %w", err)
	}
	if want := float64(b.cfg.series * c.ticks); l.Samples != want {
		return load{}, fmt.Errorf("%.0f samples delivered instead of %.0f", l.Samples, want)
	}
	return l, nil
}

// peerBytesOf is what all nodes have sent each other.
func peerBytesOf(s *lab.Servers) (float64, error) {
	var sum float64
	for _, api := range s.APIs {
		n, err := api.Sum("penstock_ingest_peer_sent_bytes_total")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
