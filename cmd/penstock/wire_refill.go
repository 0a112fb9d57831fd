// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock/refill"
	"github.com/penstock-io/penstock/tsdbstore"
)

// wireRefill builds what gives this member back what its disk has lost:
//
//	losses of the store ──┬──► data watch ──► gossip: "not whole"
//	former generations ───┘         │
//	                                ▼
//	the other members ──► refill.Refiller ──► blocks into the store
func (s *server) wireRefill() error {
	var source refill.Source = refillPeers{s}
	if s.cfg.refillSource != nil {
		source = s.cfg.refillSource(source)
	}
	var err error
	s.refiller, err = refill.New(refill.Config{
		Store:         refillStore{s.store},
		Source:        source,
		Owns:          s.ownsFunc,
		Admit:         s.memory.AdmitSeries,
		File:          s.tsdbPath("refill.json"),
		BlockDuration: time.Duration(s.cfg.storage.blockDuration),
		Retention:     time.Duration(s.cfg.storage.retention),
		Settle:        s.cfg.refillSettle,
	}, s.logger.With("component", "refill"), s.reg)
	if err != nil {
		return err
	}
	s.data = &dataWatch{
		store: s.store, members: s.members, logger: s.logger.With("component", "refill"),
		path:       s.tsdbPath("data.json"),
		retention:  time.Duration(s.cfg.storage.retention),
		future:     maxFutureOwner,
		outOfOrder: time.Duration(s.cfg.storage.outOfOrderWindow),
		hintAge:    hintAge(time.Duration(s.cfg.storage.outOfOrderWindow)),
		copies:     s.cfg.cluster.replicationFactor > 1,
		now:        time.Now,
	}
	return nil
}

// tsdbPath is a file that must go when the TSDBs are deleted.
func (s *server) tsdbPath(name string) string {
	return filepath.Join(s.cfg.storage.path, "tsdb", name)
}

// takeStock says what this member lacks before it turns ACTIVE, so that no answer counts on what
// is not there. What cannot be recorded keeps it JOINING.
func (s *server) takeStock(ctx context.Context) error {
	storeMade := time.UnixMilli(s.store.LocalStart(""))
	for {
		err := s.data.begin(s.identity.Created, storeMade)
		if err == nil {
			return nil
		}
		s.logger.Error("cannot record what data this member lacks, trying again", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(dataPoll):
		}
	}
}

// refillStore is the store in the words of the refill.
type refillStore struct{ *tsdbstore.Store }

// Losses implements refill.Store.
func (s refillStore) Losses() []refill.Loss {
	var out []refill.Loss
	for _, l := range s.Store.Losses() {
		out = append(out, refill.Loss{ID: l.ID, Tenant: l.Tenant, MinTime: l.MinTime, MaxTime: l.MaxTime, Reason: l.Reason, Found: l.Found})
	}
	return out
}
