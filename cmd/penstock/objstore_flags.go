// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// addObjstoreFlags declares the flags by which a command is told of a bucket: those of a node, with a prefix for a second
// bucket.
func addObjstoreFlags(cmd *kingpin.CmdClause, prefix, which string, cfg *objstoreConfig) {
	cmd.Flag(prefix+"objstore.config-file", "File with the configuration of "+which+" in Thanos' objstore YAML.").
		PlaceHolder("FILE").StringVar(&cfg.configFile)
	cmd.Flag(prefix+"objstore.config", "The same YAML, inline. Excludes --"+prefix+"objstore.config-file.").
		PlaceHolder("YAML").StringVar(&cfg.config)
}

// isSet says whether the flags name a bucket.
func (c *objstoreConfig) isSet() bool { return c.configFile != "" || c.config != "" }

// openBlocks opens the bucket that the flags name, for a command that runs and ends. The prefix is that of the flags.
func (c *objstoreConfig) openBlocks(prefix string) (*bucket.Blocks, io.Closer, error) {
	var raw []byte
	switch {
	case c.configFile != "" && c.config != "":
		return nil, nil, fmt.Errorf("--%[1]sobjstore.config and --%[1]sobjstore.config-file exclude each other; give one", prefix)
	case c.config != "":
		raw = []byte(c.config)
	case c.configFile != "":
		var err error
		if raw, err = os.ReadFile(c.configFile); err != nil {
			return nil, nil, fmt.Errorf("--%sobjstore.config-file: %w", prefix, err)
		}
	default:
		return nil, nil, fmt.Errorf("--%sobjstore.config-file is missing: it names the bucket", prefix)
	}
	cfg, err := bucket.ParseConfig(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("object storage configuration: %w", err)
	}
	b, err := bucket.Open(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("object storage: %w", err)
	}
	return bucket.NewBlocks(b, time.Now), b, nil
}

// parseLabels turns name=value flags into a map.
func parseLabels(flag string, pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		switch {
		case !found || value == "" || !model.UTF8Validation.IsValidLabelName(name):
			return nil, fmt.Errorf("%s=%q is not name=value", flag, pair)
		case out[name] != "":
			return nil, fmt.Errorf("%s names %q twice", flag, name)
		}
		out[name] = value
	}
	return out, nil
}

// parseTime reads RFC 3339, or a duration before now.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := model.ParseDuration(strings.TrimPrefix(text, "-")); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	return time.Time{}, fmt.Errorf("%s=%q is neither a time such as 2026-01-31T00:00:00Z nor a time ago such as 30d", flag, text)
}

// formatLabels is labels as a selector writes them.
func formatLabels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// closeAfter closes c when a command is done with it.
func closeAfter(err error, c io.Closer) error { return errors.Join(err, c.Close()) }
