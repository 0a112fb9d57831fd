// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Runtime needs to know.
type Config struct {
	// Path is the file; empty: there is none, and the defaults hold.
	Path string
	// ValidTenant tells which names a tenant can have.
	ValidTenant func(string) bool
}

// Runtime holds the limits in force. Safe for concurrent use.
type Runtime struct {
	cfg     Config
	logger  *slog.Logger
	current atomic.Pointer[Set]
	state   atomic.Pointer[ReloadState]
	mu      sync.Mutex // one reload at a time
}

// ReloadState is what became of the last attempt to read the file.
type ReloadState struct {
	OK bool
	// Since is when the limits in force were read.
	Since time.Time
}

// Open reads the file. An error means that a node must not start with it.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Runtime, error) {
	r := &Runtime{cfg: cfg, logger: logger}
	set, err := r.read()
	if err != nil {
		return nil, err
	}
	r.current.Store(set)
	r.state.Store(&ReloadState{OK: true, Since: time.Now()})
	if reg != nil {
		reg.MustRegister(&collector{runtime: r})
	}
	return r, nil
}

// Check reads the file as Open does, and keeps nothing.
func Check(cfg Config) error {
	_, err := (&Runtime{cfg: cfg}).read()
	return err
}

func (r *Runtime) read() (*Set, error) {
	var content []byte
	if r.cfg.Path != "" {
		var err error
		if content, err = os.ReadFile(r.cfg.Path); err != nil {
			return nil, fmt.Errorf("--limits.config-file: %w", err)
		}
	}
	set, err := Parse(content, r.cfg.ValidTenant)
	if err != nil {
		return nil, fmt.Errorf("--limits.config-file=%s: %w", r.cfg.Path, err)
	}
	return set, nil
}

// Current returns the limits in force. It is called for each request and each new
// series.
func (r *Runtime) Current() *Set { return r.current.Load() }

// State tells what became of the last reload.
func (r *Runtime) State() ReloadState { return *r.state.Load() }

// Reload reads the file again. When it cannot be read, the limits stay as they are.
func (r *Runtime) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	set, err := r.read()
	if err != nil {
		r.state.Store(&ReloadState{OK: false, Since: r.State().Since})
		return fmt.Errorf("limits stay as they were: %w", err)
	}
	r.current.Store(set)
	r.state.Store(&ReloadState{OK: true, Since: time.Now()})
	r.logger.Info("limits loaded", "file", r.cfg.Path, "tenants_with_overrides", len(set.Tenants))
	return nil
}
