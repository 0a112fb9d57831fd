// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

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

// servers are the processes of one case.
type servers struct {
	cfg     config
	dir     string
	running []*exec.Cmd
	apis    []harness.API
	urls    []string // for remote write
}

func (s *servers) start(ctx context.Context, c benchCase) error {
	ports, err := freePorts(3 * c.nodes)
	if err != nil {
		return err
	}
	if c.receiver == prometheus {
		return s.startPrometheus(ctx, ports[0])
	}
	return s.startPenstock(ctx, c.nodes, ports)
}

func (s *servers) startPrometheus(ctx context.Context, port int) error {
	file := filepath.Join(s.dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte("global: {}\n"), 0o644); err != nil {
		return fmt.Errorf("write the configuration of Prometheus: %w", err)
	}
	return s.run(ctx, s.cfg.prometheus, port,
		"--config.file="+file, "--storage.tsdb.path="+filepath.Join(s.dir, "data"),
		"--web.enable-remote-write-receiver", "--log.level=warn", "--web.listen-address="+harness.Loopback(port))
}

// startPenstock starts a cluster as it is run, with signed requests between members.
func (s *servers) startPenstock(ctx context.Context, nodes int, ports []int) error {
	var common []string
	if nodes > 1 {
		key := filepath.Join(s.dir, "key")
		if err := os.WriteFile(key, []byte(clusterKey), 0o600); err != nil {
			return fmt.Errorf("write the cluster key: %w", err)
		}
		common = append(common, "--cluster.key-file="+key, fmt.Sprintf("--cluster.replication-factor=%d", replicas))
		for n := range nodes {
			common = append(common, "--cluster.peer="+harness.Loopback(ports[3*n]))
		}
	}
	for n := range nodes {
		gossip, web, internal := ports[3*n], ports[3*n+1], ports[3*n+2]
		args := append([]string{
			fmt.Sprintf("--cluster.name=node-%d", n), "--log.level=warn",
			"--storage.path=" + filepath.Join(s.dir, fmt.Sprint("node-", n)),
			"--cluster.listen-address=" + harness.Loopback(gossip), "--cluster.advertise-address=" + harness.Loopback(gossip),
			"--web.listen-address=" + harness.Loopback(web), "--internal.listen-address=" + harness.Loopback(internal),
		}, common...)
		if err := s.run(ctx, s.cfg.penstock, web, args...); err != nil {
			return err
		}
	}
	for _, api := range s.apis {
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
func (s *servers) run(ctx context.Context, program string, port int, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	s.running = append(s.running, cmd)
	api := harness.API{Name: filepath.Base(program), URL: "http://" + harness.Loopback(port)}
	s.apis, s.urls = append(s.apis, api), append(s.urls, api.URL+"/api/v1/write")
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

// stop kills the processes: what they would write now belongs to nobody's figures.
func (s *servers) stop() error {
	var errs []error
	for _, cmd := range s.running {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("stop %s: %w", cmd.Path, err))
		}
		_ = cmd.Wait() // It says that the process was killed.
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// peerBytes is what all nodes have sent each other.
func (s *servers) peerBytes() (float64, error) {
	var sum float64
	for _, api := range s.apis {
		n, err := api.Sum("penstock_ingest_peer_sent_bytes_total")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

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
