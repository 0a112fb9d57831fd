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
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
)

const (
	// A client that cannot send its headers in this time is not a client.
	readHeaderTimeout = 10 * time.Second
	// A 32 MiB body over 5 Mbit/s.
	readTimeout = time.Minute
	// Longer than the keep-alive of the load balancers in deploy/, so that it is
	// they who close idle connections and no request meets a closed socket.
	idleTimeout = 5 * time.Minute
	// How long requests in flight may take to finish when the node stops.
	shutdownTimeout = 20 * time.Second
)

// listener is a bound address and the HTTP server behind it.
type listener struct {
	name       string
	net        net.Listener
	server     *http.Server
	configFile string
}

func (l *listener) addr() string { return l.net.Addr().String() }

// bind takes both addresses before anything else can fail half-way, so that a
// taken port is the first thing an operator is told.
func (s *server) bind() error {
	var err error
	s.internal, err = s.listen("internal", "--internal.listen-address", s.cfg.internal.listenAddress, s.cfg.internal.configFile)
	if err != nil {
		return err
	}
	s.public, err = s.listen("public", "--web.listen-address", s.cfg.web.listenAddress, s.cfg.web.configFile)
	return err
}

func (s *server) listen(name, flag, addr, configFile string) (*listener, error) {
	if configFile != "" {
		if err := web.Validate(configFile); err != nil {
			return nil, fmt.Errorf("config file %s of the %s listener: %w", configFile, name, err)
		}
	}
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s=%s: the port is taken by another process; stop that one or choose another port", flag, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", flag, addr, err)
	}
	l := &listener{name: name, net: ln, configFile: configFile, server: &http.Server{
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
	}}
	// Closing an already closed listener is no failure of stopping.
	s.onStop("close "+name+" listener", func() error { _ = ln.Close(); return nil })
	return l, nil
}

// serve answers requests on l until stop, which lets requests in flight finish.
func (s *server) serve(l *listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		logger := s.logger.With("component", "http", "listener", l.name)
		err := web.Serve(l.net, l.server, &web.FlagConfig{WebConfigFile: &l.configFile}, logger)
		if err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.fail(fmt.Errorf("serve %s listener: %w", l.name, err))
		}
	}()
	s.onStop("stop "+l.name+" listener", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		err := l.server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = l.server.Close()
		}
		<-done
		return err
	})
}

// checkDataDir makes the data directory and proves that it can be written.
func checkDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--storage.path=%s: %w; choose a directory that this user may create and write", dir, err)
	}
	probe := filepath.Join(dir, ".write-probe")
	if err := os.WriteFile(probe, []byte("penstock\n"), 0o600); err != nil {
		return fmt.Errorf("--storage.path=%s is not writable: %w; give the directory to the user that runs penstock", dir, err)
	}
	return os.Remove(probe)
}

// internalAddr is the address under which the other members reach the internal
// listener: the host of --cluster.advertise-address, else the address it is
// bound to, else the host's private address.
func internalAddr(advertise, bound, private string) (string, error) {
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", err
	}
	if advertise != "" {
		if host, _, err = net.SplitHostPort(advertise); err != nil {
			return "", fmt.Errorf("--cluster.advertise-address=%q is not host:port: %w", advertise, err)
		}
		return net.JoinHostPort(host, port), nil
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return bound, nil
	}
	if private == "" {
		return "", errors.New("this host has no private address to tell the other members; set --cluster.advertise-address")
	}
	return net.JoinHostPort(strings.TrimSpace(private), port), nil
}
