// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	internalPort = "9095"

	// A block shorter than this would spend more on its index than on samples,
	// and head chunks could not be cut in time.
	blockDurationMin = 10 * time.Second
	// Prometheus blocks are 2h at ingest everywhere; longer ones would keep more
	// than that in memory and break readers that expect levels of 2h.
	blockDurationMax = 2 * time.Hour

	replicationFactorMax = 5
)

// finish fills in the defaults that depend on other flags and refuses what
// cannot work, naming the flag and the remedy. It reads nothing but cfg.
func (c *config) finish() error {
	if c.internal.listenAddress == "" {
		host := "127.0.0.1"
		if c.clustered() {
			host = "0.0.0.0"
		}
		c.internal.listenAddress = net.JoinHostPort(host, internalPort)
	}
	if c.cluster.replicationFactor == 0 {
		c.cluster.replicationFactor = 1
		if c.clustered() {
			c.cluster.replicationFactor = 3
		}
	}
	for _, check := range []func() error{c.checkWeb, c.checkStorage, c.checkCluster, c.checkQuery, c.checkElection, c.checkCompact, c.checkRead} {
		if err := check(); err != nil {
			return err
		}
	}
	c.nameSenders()
	return nil
}

func (c *config) clustered() bool { return len(c.cluster.peers) > 0 }

func (c *config) checkWeb() error {
	for flag, addr := range map[string]string{
		"--web.listen-address":      c.web.listenAddress,
		"--internal.listen-address": c.internal.listenAddress,
		"--cluster.listen-address":  c.cluster.listenAddress,
	} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%s=%q is not host:port: %w", flag, addr, err)
		}
	}
	if c.web.externalURL == "" {
		return nil
	}
	u, err := url.Parse(c.web.externalURL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("--web.external-url=%q is not a URL such as https://metrics.example.org/penstock", c.web.externalURL)
	}
	return nil
}

// externalPath is the path of --web.external-url without a trailing slash.
func (c *config) externalPath() string {
	u, err := url.Parse(c.web.externalURL)
	if err != nil {
		return ""
	}
	return strings.TrimRight(u.Path, "/")
}

func (c *config) checkStorage() error {
	d := time.Duration(c.storage.blockDuration)
	if d < blockDurationMin || d > blockDurationMax {
		return fmt.Errorf("--storage.block-duration=%s must be between %s and %s", c.storage.blockDuration, blockDurationMin, blockDurationMax)
	}
	if c.storage.outOfOrderWindow <= 0 {
		return errors.New("--storage.out-of-order-window must be above 0: without a window the retry of a request that was already stored would be refused and its sender would drop it")
	}
	if time.Duration(c.storage.retention) < d {
		return fmt.Errorf("--storage.retention.time=%s must be at least --storage.block-duration=%s", c.storage.retention, c.storage.blockDuration)
	}
	if c.objstore.config != "" && c.objstore.configFile != "" {
		return errors.New("--objstore.config and --objstore.config-file exclude each other; give one")
	}
	return nil
}

func (c *config) checkCluster() error {
	cl := &c.cluster
	if cl.name != "" {
		if err := ring.ValidateName(cl.name); err != nil {
			return err
		}
	}
	if cl.replicationFactor < 1 || cl.replicationFactor > replicationFactorMax {
		return fmt.Errorf("--cluster.replication-factor=%d must be between 1 and %d", cl.replicationFactor, replicationFactorMax)
	}
	if !c.clustered() {
		if cl.replicationFactor > 1 {
			return fmt.Errorf("--cluster.replication-factor=%d needs other members; name them with --cluster.peer", cl.replicationFactor)
		}
		return nil
	}
	if cl.keyFile == "" && !cl.insecure {
		return errors.New("--cluster.peer needs --cluster.key-file (make a key with `openssl rand -base64 32`), or --cluster.insecure if every host that reaches the cluster's ports may write to it")
	}
	if cl.keyFile != "" && cl.insecure {
		return errors.New("--cluster.key-file and --cluster.insecure exclude each other; drop --cluster.insecure")
	}
	if cl.label == "" {
		return errors.New("--cluster.label must not be empty: it keeps clusters on one network apart")
	}
	if cl.forgetAfter <= 0 {
		return errors.New("--cluster.forget-after must be above 0")
	}
	return nil
}

func (c *config) checkQuery() error {
	if c.query.timeout <= 0 {
		return errors.New("--query.timeout must be above 0")
	}
	if c.query.maxSamples <= 0 {
		return errors.New("--query.max-samples must be above 0")
	}
	if c.query.blockCache <= 0 {
		return errors.New("--query.block-cache-bytes must be above 0")
	}
	if c.query.maxBlockBytes <= 0 {
		return errors.New("--query.max-block-bytes must be above 0")
	}
	if err := c.query.limits.check(); err != nil {
		return err
	}
	for _, l := range c.query.replicaLabels {
		if l == "" || l == "__name__" {
			return fmt.Errorf("--query.replica-label=%q cannot be a replica label", l)
		}
	}
	return nil
}

// objstoreYAML is the configuration of the bucket; nil when the node has none.
// A lone node without one keeps its blocks in a directory of its own, so that
// it is useful at once; for a cluster such a bucket would hold only one
// member's share of the data.
func (c *config) objstoreYAML() ([]byte, error) {
	switch {
	case c.objstore.config != "":
		return []byte(c.objstore.config), nil
	case c.objstore.configFile != "":
		b, err := os.ReadFile(c.objstore.configFile)
		if err != nil {
			return nil, fmt.Errorf("--objstore.config-file: %w", err)
		}
		return b, nil
	case c.clustered():
		return nil, nil
	default:
		return fmt.Appendf(nil, "type: FILESYSTEM\nconfig:\n  directory: %q\n", filepath.Join(c.storage.path, "bucket")), nil
	}
}
