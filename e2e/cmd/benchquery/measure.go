// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/penstock-io/penstock/e2e/lab"
)

const (
	// A figure is of queries that took so much CPU together, and of at least two: the clock of CPU times ticks every 10 ms.
	cpuEnough  = 400 * time.Millisecond
	runsAtMost = 40
	runsAtLast = 2

	clusterNodes = 3
)

// Servers in the order of the table.
const (
	prometheus = iota
	oneNode
	threeNodes
	pairNode
	receivers
)

// way is how the answer of a server is asked for: a column of the table.
type way struct {
	name   string
	server int
	params url.Values
	half   bool // the query is about one replica of the pair
}

func ways() []way {
	return []way{
		{name: "Prometheus", server: prometheus},
		{name: "one node", server: oneNode},
		{name: "three nodes", server: threeNodes},
		{name: "pair", server: pairNode},
		{name: "pair, dedup=false", server: pairNode, params: url.Values{"dedup": {"false"}}},
		{name: "one of the pair, dedup=false", server: pairNode, params: url.Values{"dedup": {"false"}}, half: true},
	}
}

// bench is all servers, which run until the end.
type bench struct {
	cfg     config
	dir     string
	data    data
	servers []*lab.Servers
}

// result is the CPU time of one query, asked in one way.
type result struct {
	query, way string
	cpu        time.Duration
	bytes      int64 // of the answer
}

// start makes the data and starts the servers on it.
func (b *bench) start(ctx context.Context) error {
	pair := b.data
	pair.replicas = []string{"a", "b"}
	fmt.Println("making blocks ...")
	lone, twice := filepath.Join(b.dir, "block"), filepath.Join(b.dir, "block-of-pair")
	if err := errors.Join(b.data.writeBlock(ctx, lone), pair.writeBlock(ctx, twice)); err != nil {
		return err
	}
	since := b.data.end.Add(-24 * time.Hour)
	for n := range receivers {
		s := &lab.Servers{Dir: filepath.Join(b.dir, strconv.Itoa(n)), Prometheus: b.cfg.prometheus, Penstock: b.cfg.penstock}
		if err := os.Mkdir(s.Dir, 0o755); err != nil {
			return fmt.Errorf("create the directory of a server: %w", err)
		}
		b.servers = append(b.servers, s)
		var err error
		d, nodes, blocks := b.data, 1, lone
		switch n {
		case prometheus:
			if err = s.AddBlocks(lone); err == nil {
				err = s.StartPrometheus(ctx)
			}
		case threeNodes:
			nodes = clusterNodes
		case pairNode:
			d, blocks = pair, twice
		}
		if n != prometheus {
			if err = s.AddNodeBlocks(blocks, nodes, since); err == nil {
				err = s.StartPenstock(ctx, nodes)
			}
		}
		if err != nil {
			return err
		}
		fmt.Printf("sending to %s (%d processes) ...\n", s.APIs[0].Name, len(s.Running))
		if err := d.send(ctx, s.WriteURL); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stop(err error) error {
	errs := []error{err}
	for _, s := range b.servers {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}

// measure asks a query in all ways, one after the other, so that what is compared is close together in time.
func (b *bench) measure(ctx context.Context, q query) ([]result, error) {
	var out []result
	for _, w := range ways() {
		r, err := b.measureWay(ctx, q, w)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", q.name, w.name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (b *bench) measureWay(ctx context.Context, q query, w way) (result, error) {
	s := b.servers[w.server]
	path := q.path(w)
	header := http.Header{}
	if !q.cached {
		header.Set("Cache-Control", "no-store")
	}
	r := result{query: q.name, way: w.name}
	// Once unmeasured: the first one after others grows the heap, or fills the cache.
	if _, err := s.Ask(ctx, path, header); err != nil {
		return r, err
	}
	began, err := s.CPU()
	if err != nil {
		return r, err
	}
	for runs := 1; ; runs++ {
		if r.bytes, err = s.Ask(ctx, path, header); err != nil {
			return r, err
		}
		now, err := s.CPU()
		if err != nil {
			return r, err
		}
		if used := now - began; runs >= runsAtLast && (used >= cpuEnough || runs >= runsAtMost) {
			r.cpu = used / time.Duration(runs)
			return r, nil
		}
	}
}
