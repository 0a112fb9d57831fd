// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/ingest"
)

const (
	// How long a member that stops may take to store what is held of HA replicas that
	// were not elected: some seconds of their requests, when a quorum takes them. When
	// none does they are lost with the process, and not worth a longer stop.
	heldStoreTimeout = 3 * time.Second
	// The same for the few requests that were under way at the first time.
	heldRestTimeout = time.Second
)

// electionConfig names the labels by which HA replicas are elected; both are empty when
// they are not.
type electionConfig struct {
	clusterLabel string
	replicaLabel string
}

func addElectionFlags(cmd *kingpin.CmdClause, c *electionConfig) {
	cmd.Flag("ingest.ha-cluster-label", "External label that names the HA pair that a sender belongs to. With --ingest.ha-replica-label, one server of each pair is elected and what the others send is not stored. Must be the same on all members.").
		PlaceHolder("LABEL").StringVar(&c.clusterLabel)
	cmd.Flag("ingest.ha-replica-label", "External label that tells the servers of an HA pair apart; one of --query.replica-label. Must be the same on all members.").
		PlaceHolder("LABEL").StringVar(&c.replicaLabel)
}

// elects tells whether one replica of each HA pair is elected.
func (c *config) elects() bool { return c.election.clusterLabel != "" }

func (c *config) checkElection() error {
	cluster, replica := c.election.clusterLabel, c.election.replicaLabel
	switch {
	case cluster == "" && replica == "":
		return nil
	case cluster == "" || replica == "":
		return errors.New("--ingest.ha-cluster-label and --ingest.ha-replica-label belong together; give both, or none")
	case cluster == replica:
		return fmt.Errorf("--ingest.ha-cluster-label and --ingest.ha-replica-label are both %q; the first names the pair, the second its servers", cluster)
	case cluster == "__name__":
		return fmt.Errorf("--ingest.ha-cluster-label=%q cannot be an external label", cluster)
	case !slices.Contains(c.query.replicaLabels, replica):
		return fmt.Errorf("--ingest.ha-replica-label=%q must be one of --query.replica-label: the label is kept, and queries would show another series after each election", replica)
	}
	return nil
}

// wireElection builds the election among HA replicas, if there is one.
func (s *server) wireElection() {
	if !s.cfg.elects() {
		return
	}
	s.election = ingest.NewElection(ingest.ElectionConfig{
		ClusterLabel: s.cfg.election.clusterLabel,
		ReplicaLabel: s.cfg.election.replicaLabel,
		RF:           s.cfg.cluster.replicationFactor,
		View:         s.members.View,
		Client:       s.client,
		Scheme:       s.scheme,
		Writer:       s.distributor,
		LimitsOf:     s.tenantLimits,
		Admit:        s.memory.AdmitWrite,
		Cache:        s.series,
	}, s.logger.With("component", "election"), s.reg)
	// After the public listener has been closed, and before writes are finished.
	s.onStop("store the rest of what is held", s.storeHeld(heldRestTimeout))
}

// startElection starts the election, if there is one. It is the last that is started, so
// that stopping begins with what is held: once this member has announced that it is
// leaving, others that are leaving too do not take its writes.
func (s *server) startElection() {
	if s.election == nil {
		return
	}
	s.background("election", s.election.Run)
	s.onStop("store what is held", s.storeHeld(heldStoreTimeout))
}

func (s *server) storeHeld(timeout time.Duration) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := s.election.StoreHeld(ctx); err != nil {
			s.logger.Warn("stopping with dropped requests that nobody may have stored", "err", err)
		}
		return nil
	}
}

// drainHeld stores what is held, as a step of drain: once while this member still takes
// writes, and again for the requests that were under way then.
func (s *server) drainHeld(ctx context.Context, force bool, say func(string, ...any)) error {
	if s.election == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, heldStoreTimeout)
	defer cancel()
	err := s.election.StoreHeld(ctx)
	switch {
	case err != nil && force:
		say("going on although (force): %s", err)
		return nil
	case err != nil:
		s.resumeElection()
	}
	return err
}

// resumeElection drops replicas again.
func (s *server) resumeElection() {
	if s.election != nil {
		s.election.Resume()
	}
}
