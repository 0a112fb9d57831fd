// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/prometheus/model/relabel"
)

// addReadFlags declares the flags of the query API that Prometheus has under the same names.
func addReadFlags(cmd *kingpin.CmdClause, cfg *config) {
	cmd.Flag("web.route-prefix", "Prefix of every endpoint of this node. Default: the path of --web.external-url. Set it to / behind a proxy that takes the path away.").
		PlaceHolder("PATH").StringVar(&cfg.web.routePrefix)
	cmd.Flag("web.cors.origin", "Regular expression, anchored, of the origins whose scripts may read answers of the query API, such as 'https?://(a|b)\\.example'. Default: none of them.").
		PlaceHolder("REGEX").StringVar(&cfg.web.corsOrigin)
	cmd.Flag("storage.remote.read-sample-limit", "Most samples in an answer to remote read that is not streamed. 0: no limit.").
		Default("50000000").IntVar(&cfg.query.readSamples)
	cmd.Flag("storage.remote.read-concurrent-limit", "Remote reads at one time; further ones wait.").
		Default("10").IntVar(&cfg.query.readsAtOnce)
	cmd.Flag("storage.remote.read-max-bytes-in-frame", "Size in bytes at which a streamed answer to remote read begins another frame.").
		Default("1048576").IntVar(&cfg.query.readFrameBytes)
}

// checkRead refuses what checkQuery does not look at.
func (c *config) checkRead() error {
	if c.query.readSamples < 0 {
		return errors.New("--storage.remote.read-sample-limit must be at least 0")
	}
	if c.query.readsAtOnce < 1 {
		return errors.New("--storage.remote.read-concurrent-limit must be at least 1")
	}
	if c.query.readFrameBytes < 1 {
		return errors.New("--storage.remote.read-max-bytes-in-frame must be at least 1")
	}
	if c.web.corsOrigin != "" {
		if _, err := relabel.NewRegexp(c.web.corsOrigin); err != nil {
			return fmt.Errorf("--web.cors.origin=%q is not a regular expression: %w", c.web.corsOrigin, err)
		}
	}
	return nil
}

// prefix is the path before every endpoint, without a slash at its end; empty for none.
func (c *config) prefix() string {
	p := c.web.routePrefix
	if p == "" {
		p = c.externalPath()
	}
	return strings.TrimRight(path.Clean("/"+p), "/")
}
