// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	yaml "go.yaml.in/yaml/v2"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
)

// configInForce is the answer of status/config. Where Prometheus' configuration file has a section for something it has the
// same section, so that who looks there for external labels or retention finds what holds here.
type configInForce struct {
	Global struct {
		// ExternalLabels is empty: each series has those of its sender.
		ExternalLabels map[string]string `yaml:"external_labels"`
	} `yaml:"global"`
	Storage struct {
		TSDB struct {
			OutOfOrderTimeWindow model.Duration `yaml:"out_of_order_time_window"`
			Retention            struct {
				Time model.Duration `yaml:"time"`
			} `yaml:"retention"`
		} `yaml:"tsdb"`
	} `yaml:"storage"`
	OTLP     promconfig.OTLPConfig `yaml:"otlp"`
	Limits   limitsInForce         `yaml:"limits"`
	Objstore *objstoreInForce      `yaml:"objstore,omitempty"`
}

// limitsInForce is the limits file with all defaults filled in.
type limitsInForce struct {
	Node     limits.Node               `yaml:"node"`
	Defaults limits.Tenant             `yaml:"defaults"`
	Tenants  map[string]*limits.Tenant `yaml:"tenants,omitempty"`
}

// objstoreInForce is the configuration of the bucket. Secrets show themselves as such.
type objstoreInForce struct {
	Type   string `yaml:"type"`
	Prefix string `yaml:"prefix,omitempty"`
	Config any    `yaml:"config"`
}

// configYAML is the configuration that is in force now. What flags say is at status/flags.
func (s *server) configYAML() string {
	var c configInForce
	c.Global.ExternalLabels = map[string]string{}
	c.Storage.TSDB.OutOfOrderTimeWindow = s.cfg.storage.outOfOrderWindow
	c.Storage.TSDB.Retention.Time = s.cfg.storage.retention
	c.OTLP = s.otlpInForce
	set := s.limits.Current()
	c.Limits = limitsInForce{set.Node, set.Defaults, set.Tenants}
	c.Objstore = s.objstoreInForce()
	out, err := yaml.Marshal(c)
	if err != nil {
		s.logger.Error("configuration cannot be shown", "err", err)
		return "{}\n"
	}
	return string(out)
}

func (s *server) objstoreInForce() *objstoreInForce {
	cfg := s.bucketInForce
	switch {
	case cfg.S3 != nil:
		return &objstoreInForce{cfg.Type, cfg.Prefix, cfg.S3}
	case cfg.Filesystem != nil:
		return &objstoreInForce{cfg.Type, cfg.Prefix, cfg.Filesystem}
	default:
		return nil
	}
}
