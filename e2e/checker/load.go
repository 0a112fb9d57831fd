// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// writePath is where all targets take remote write.
	writePath = "/api/v1/write"
	// minBackoff and maxBackoff are Prometheus' own.
	minBackoff = 30 * time.Millisecond
	maxBackoff = 5 * time.Second
	// writeTimeout bounds one attempt. Prometheus waits for 30s; here a request that hangs goes to another node sooner.
	writeTimeout = 10 * time.Second
	// answerMax bounds what is read of an answer.
	answerMax = 4 << 10
	// impatientEvery is which shards never send anything again, so that some samples stay unknown.
	impatientEvery = 10
)

// Target is where a load is sent.
type Target struct {
	Name string
	URL  string // without path
}

// LoadConfig says how a plan is carried out.
type LoadConfig struct {
	Plan Plan
	// Targets are asked for before every attempt, which goes to the next of them by turns.
	Targets func() []Target
	// MaxTicks bounds the record.
	MaxTicks int
	// Impatient has one shard in ten give up what is not taken at once.
	Impatient bool
}

// Load is a sender that keeps a record. As with Prometheus, a shard has one request under way, which is sent again
// with the same bytes until it is decided; meanwhile later ticks wait.
type Load struct {
	Plan     Plan
	Record   *Record
	Attempts *Attempts

	cfg    LoadConfig
	client *http.Client
}

// NewLoad starts nothing.
func NewLoad(cfg LoadConfig) *Load {
	return &Load{
		Plan: cfg.Plan, Record: NewRecord(cfg.Plan.Shards, cfg.MaxTicks), Attempts: &Attempts{}, cfg: cfg,
		client: &http.Client{Timeout: writeTimeout, Transport: &http.Transport{
			MaxIdleConnsPerHost: cfg.Plan.Shards, IdleConnTimeout: time.Minute, DisableCompression: true,
		}},
	}
}

// Run begins a tick of every shard each interval until ctx ends, and returns when all that was begun is decided. When
// hard ends first, what is not decided stays unknown. The shards are spread over the interval.
func (l *Load) Run(ctx, hard context.Context) error {
	defer l.client.CloseIdleConnections()
	errs := make(chan error, l.Plan.Shards)
	var running sync.WaitGroup
	for shard := range l.Plan.Shards {
		running.Go(func() { errs <- l.shard(ctx, hard, shard) })
	}
	running.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func (l *Load) shard(ctx, hard context.Context, shard int) error {
	offset := l.Plan.Interval * time.Duration(shard) / time.Duration(l.Plan.Shards)
	for tick := 0; ; tick++ {
		due := time.UnixMilli(l.Plan.Time(tick)).Add(offset)
		if !sleep(ctx, time.Until(due)) {
			return nil
		}
		if err := l.tick(hard, shard, tick); err != nil {
			return fmt.Errorf("shard %d tick %d: %w", shard, tick, err)
		}
	}
}

// tick sends one request until it is decided.
func (l *Load) tick(ctx context.Context, shard, tick int) error {
	header, body, err := l.Plan.request(shard, tick)
	if err != nil {
		return err
	}
	if err := l.Record.Set(shard, tick, Unknown); err != nil {
		return err
	}
	backoff := minBackoff
	for attempt := 0; ; attempt++ {
		targets := l.cfg.Targets()
		target := targets[(shard+tick+attempt)%len(targets)]
		a := l.send(ctx, target, header, body)
		l.Attempts.add(a)
		switch {
		case a.Status/100 == 2:
			return l.Record.Set(shard, tick, Acked)
		case a.Status/100 == 4:
			return l.Record.Set(shard, tick, Refused)
		case l.cfg.Impatient && shard%impatientEvery == impatientEvery-1:
			return nil
		}
		if !sleep(ctx, max(backoff, a.retryAfter)) {
			return fmt.Errorf("not decided after %d attempts, the last to %s: status %d, %s", attempt+1, a.Target, a.Status, a.Text)
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (l *Load) send(ctx context.Context, target Target, header http.Header, body []byte) Attempt {
	a := Attempt{At: time.Now(), Target: target.Name}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL+writePath, bytes.NewReader(body))
	if err != nil {
		a.Text = err.Error()
		return a
	}
	req.Header = header.Clone()
	resp, err := l.client.Do(req)
	a.Took = time.Since(a.At)
	if err != nil {
		a.Text = err.Error()
		return a
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerMax)) // An answer without its text is still one.
	a.Status = resp.StatusCode
	if a.Status/100 != 2 {
		a.Text = string(text)
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		a.retryAfter = time.Duration(s) * time.Second
	}
	return a
}

// sleep returns false when ctx ends before the time is over.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err() == nil
}
