// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab runs receivers as processes for programs that measure them. The harness does the same for tests, which
// have a testing.TB to fail.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// startWithin and stopWithin are for processes with an empty disk and with a snapshot to write.
	startWithin = 30 * time.Second
	stopWithin  = 30 * time.Second
	pollEvery   = 50 * time.Millisecond
	// clusterKey is 16 bytes.
	clusterKey = "0123456789abcdef"
)

// Replicas is the replication factor of clusters.
const Replicas = 3

// Servers are the processes of one Prometheus, or of one cluster. Dir and the programs are set before the start.
type Servers struct {
	Dir                  string // It exists; Stop removes it.
	Prometheus, Penstock string // Programs.

	Running  []*exec.Cmd
	APIs     []harness.API
	WriteURL []string // For remote write, one of each process.
}

// StartPrometheus starts one that takes remote write.
func (s *Servers) StartPrometheus(ctx context.Context) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	file := filepath.Join(s.Dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte("global: {}\n"), 0o644); err != nil {
		return fmt.Errorf("write the configuration of Prometheus: %w", err)
	}
	return s.run(ctx, s.Prometheus, ports[0],
		"--config.file="+file, "--storage.tsdb.path="+filepath.Join(s.Dir, "data"),
		"--web.enable-remote-write-receiver", "--log.level=warn", "--web.listen-address="+harness.Loopback(ports[0]))
}

// NodeDir is the data directory of a node.
func (s *Servers) NodeDir(n int) string { return filepath.Join(s.Dir, NodeName(n)) }

// NodeName is the name of a node in its cluster.
func NodeName(n int) string { return fmt.Sprintf("node-%d", n) }

// StartPenstock starts a cluster as it is run, with signed requests between members; of one node without.
func (s *Servers) StartPenstock(ctx context.Context, nodes int, flags ...string) error {
	ports, err := freePorts(3 * nodes)
	if err != nil {
		return err
	}
	common := flags
	if nodes > 1 {
		key := filepath.Join(s.Dir, "key")
		if err := os.WriteFile(key, []byte(clusterKey), 0o600); err != nil {
			return fmt.Errorf("write the cluster key: %w", err)
		}
		common = append(common, "--cluster.key-file="+key, fmt.Sprintf("--cluster.replication-factor=%d", Replicas))
		for n := range nodes {
			common = append(common, "--cluster.peer="+harness.Loopback(ports[3*n]))
		}
	}
	for n := range nodes {
		gossip, web, internal := ports[3*n], ports[3*n+1], ports[3*n+2]
		args := append([]string{
			"--cluster.name=" + NodeName(n), "--log.level=warn",
			"--storage.path=" + s.NodeDir(n),
			"--cluster.listen-address=" + harness.Loopback(gossip), "--cluster.advertise-address=" + harness.Loopback(gossip),
			"--web.listen-address=" + harness.Loopback(web), "--internal.listen-address=" + harness.Loopback(internal),
		}, common...)
		if err := s.run(ctx, s.Penstock, web, args...); err != nil {
			return err
		}
	}
	for _, api := range s.APIs {
		err := poll(ctx, func() error {
			ring, err := api.Ring()
			if err != nil {
				return err
			}
			return ring.Whole(nodes)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// run starts one process, whose output is shown when it fails, and waits until it is ready.
func (s *Servers) run(ctx context.Context, program string, port int, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	s.Running = append(s.Running, cmd)
	api := harness.API{Name: filepath.Base(program), URL: "http://" + harness.Loopback(port)}
	s.APIs, s.WriteURL = append(s.APIs, api), append(s.WriteURL, api.URL+"/api/v1/write")
	err := poll(ctx, func() error {
		resp, err := api.Call("/-/ready", nil)
		if err == nil && resp.Code != http.StatusOK {
			err = fmt.Errorf("status %d", resp.Code)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s is not ready: %w", program, err)
	}
	return nil
}

// Stop kills the processes: what they would write now belongs to nobody's figures.
func (s *Servers) Stop() error {
	var errs []error
	for _, cmd := range s.Running {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("stop %s: %w", cmd.Path, err))
		}
		_ = cmd.Wait() // It says that the process was killed.
	}
	return errors.Join(append(errs, os.RemoveAll(s.Dir))...)
}

// poll calls check until it is nil, or startWithin is over.
func poll(ctx context.Context, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", startWithin, err)
		case <-time.After(pollEvery):
		}
	}
}

// freePorts returns ports that nothing listens on now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", harness.Loopback(0))
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
