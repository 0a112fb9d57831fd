// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/ingest"
)

// sendersConfig says how senders are told apart.
type sendersConfig struct {
	clusterLabel      string
	replicaLabel      string
	trustForwardedFor bool
}

func addSenderFlags(cmd *kingpin.CmdClause, c *sendersConfig) {
	cmd.Flag("ingest.ha-cluster-label", "External label that tells which HA pair a sender belongs to.").
		Default(ingest.DefaultClusterLabel).StringVar(&c.clusterLabel)
	cmd.Flag("ingest.ha-replica-label", "External label that tells the servers of an HA pair apart at ingest. Default: the first --query.replica-label.").
		PlaceHolder("LABEL").StringVar(&c.replicaLabel)
	cmd.Flag("ingest.trust-forwarded-for", "Take the address of a sender without these labels from the last entry of X-Forwarded-For. Only behind a proxy that sets it.").
		BoolVar(&c.trustForwardedFor)
}

// checkSenders fills in the replica label and refuses names that no external label has.
func (c *config) checkSenders() error {
	s := &c.senders
	if s.replicaLabel == "" {
		s.replicaLabel = ingest.DefaultReplicaLabel
		if len(c.query.replicaLabels) > 0 {
			s.replicaLabel = c.query.replicaLabels[0]
		}
	}
	if s.clusterLabel == "" || s.clusterLabel == "__name__" {
		return fmt.Errorf("--ingest.ha-cluster-label=%q cannot be an external label", s.clusterLabel)
	}
	if s.replicaLabel == "__name__" {
		return fmt.Errorf("--ingest.ha-replica-label=%q cannot be an external label", s.replicaLabel)
	}
	if s.clusterLabel == s.replicaLabel {
		return fmt.Errorf("--ingest.ha-cluster-label and --ingest.ha-replica-label are both %q; the first names the pair, the second its servers", s.clusterLabel)
	}
	return nil
}

// newLedger accounts for what senders deliver to this member.
func (s *server) newLedger() *ingest.Ledger {
	cfg := ingest.LedgerConfig{
		ClusterLabel:      s.cfg.senders.clusterLabel,
		ReplicaLabel:      s.cfg.senders.replicaLabel,
		TrustForwardedFor: s.cfg.senders.trustForwardedFor,
		Tenant:            s.requestTenant,
		View:              s.members.View,
	}
	if s.cfg.clustered() {
		cfg.Client, cfg.Scheme = s.client, s.scheme
	}
	return ingest.NewLedger(cfg, s.logger.With("component", "senders"), s.reg)
}
