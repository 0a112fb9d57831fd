// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	promconfig "github.com/prometheus/prometheus/config"

	"github.com/penstock-io/penstock/ingest"
)

// otlpTranslation is how OTLP metrics become series: as --otlp.config-file says, and as
// Prometheus does by default where it says nothing.
func (c *config) otlpTranslation() (promconfig.OTLPConfig, error) {
	var text []byte
	if file := c.otlp.configFile; file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return promconfig.OTLPConfig{}, fmt.Errorf("--otlp.config-file: %w", err)
		}
	}
	cfg, err := ingest.ParseOTLP(text)
	if err != nil {
		return promconfig.OTLPConfig{}, fmt.Errorf("--otlp.config-file=%s: %w", c.otlp.configFile, err)
	}
	return cfg, nil
}
