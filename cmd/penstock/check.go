// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/uploader/bucket"
)

func addCheck(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	check := app.Command("check", "Check without starting anything.")
	cmd := check.Command("config", "Read the flags of a node and every file that they name; exit 1 and say what is wrong, if anything is.")
	cfg := addNodeFlags(cmd)
	return cmd.FullCommand(), func(_ context.Context, out io.Writer) error {
		if err := checkConfig(cfg); err != nil {
			return err
		}
		fmt.Fprintln(out, "the configuration is valid")
		return nil
	}
}

// checkConfig does what starting a node does with its configuration, short of
// opening the data directory, a port or the network.
func checkConfig(cfg *config) error {
	if err := cfg.finish(); err != nil {
		return err
	}
	if f := cfg.cluster.keyFile; f != "" {
		raw, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("--cluster.key-file: %w", err)
		}
		if _, err := ring.ParseKey(raw); err != nil {
			return fmt.Errorf("--cluster.key-file=%s: %w", f, err)
		}
	}
	raw, err := cfg.objstoreYAML()
	if err != nil {
		return err
	}
	if raw != nil {
		if _, err := bucket.ParseConfig(raw); err != nil {
			return fmt.Errorf("object storage configuration: %w", err)
		}
	}
	if err := limits.Check(limitsFile(cfg)); err != nil {
		return err
	}
	if _, err := cfg.otlpTranslation(); err != nil {
		return err
	}
	for flag, file := range map[string]string{
		"--web.config.file":      cfg.web.configFile,
		"--internal.config.file": cfg.internal.configFile,
	} {
		if file == "" {
			continue
		}
		if err := web.Validate(file); err != nil {
			return fmt.Errorf("%s=%s: %w", flag, file, err)
		}
	}
	return nil
}
