// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/ingest"
)

// sendersConfig says how senders are told apart.
type sendersConfig struct {
	// clusterLabel and replicaLabel are those of the election, or what most senders
	// have; nameSenders sets them.
	clusterLabel      string
	replicaLabel      string
	trustForwardedFor bool
}

func addSenderFlags(cmd *kingpin.CmdClause, c *sendersConfig) {
	cmd.Flag("ingest.trust-forwarded-for", "Take the address of a sender without external labels from the last entry of X-Forwarded-For. Only behind a proxy that sets it.").
		BoolVar(&c.trustForwardedFor)
}

// nameSenders finds out which labels name a sender.
func (c *config) nameSenders() {
	s := &c.senders
	if c.elects() {
		s.clusterLabel, s.replicaLabel = c.election.clusterLabel, c.election.replicaLabel
		return
	}
	s.clusterLabel, s.replicaLabel = ingest.DefaultClusterLabel, ingest.DefaultReplicaLabel
	for _, l := range c.query.replicaLabels {
		if l != s.clusterLabel {
			s.replicaLabel = l
			return
		}
	}
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
