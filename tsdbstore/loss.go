// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

const (
	lossFile    = "losses.json"
	lossVersion = 1
	// lossesMax bounds the file and what a refill must keep in mind. Beyond it all
	// losses become one of everything between them, which costs a longer refill
	// and forgets none.
	lossesMax = 1000

	reasonLossFile   = "the list of losses could not be read"
	reasonManyLosses = "more losses than are told apart"
)

// Loss is a stretch of time of which this store should have samples and may not.
// What is there is right; only what is missing is not known to be absent.
type Loss struct {
	// ID tells this loss from every other one, of the past too. AddLoss gives it.
	ID string `json:"id"`
	// Tenant is whose samples; empty: those of every tenant.
	Tenant string `json:"tenant,omitempty"`
	// MinTime and MaxTime are Unix ms, the first inclusive, the second not.
	MinTime int64 `json:"min_time_ms"`
	MaxTime int64 `json:"max_time_ms"`
	// Reason is for people.
	Reason string `json:"reason"`
	// Found is when it was noticed.
	Found time.Time `json:"found"`
}

// lossState is the content of the file (docs/format/layout.md).
type lossState struct {
	Version int    `json:"version"`
	Losses  []Loss `json:"losses"`
}

// losses is the durable list. Its commit point is the rename of the file. Safe for
// concurrent use.
type losses struct {
	path string
	now  func() time.Time

	mu   sync.Mutex
	list []Loss // Never changed in place: readers have it.
}

// loadLosses reads the list of a store directory. A list that cannot be read is
// itself a loss of everything: it may have held anything.
func loadLosses(dir string, now func() time.Time, logger *slog.Logger) (*losses, error) {
	l := &losses{path: filepath.Join(dir, lossFile), now: now}
	raw, err := os.ReadFile(l.path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read list of losses: %w", err)
	}
	var state lossState
	if err = json.Unmarshal(raw, &state); err == nil && state.Version < 1 {
		err = errors.New("no version")
	}
	if err != nil {
		kept := l.path + ".damaged"
		logger.Error("the list of losses is damaged: all that this node has counts as incomplete until it is refilled", "kept_as", kept, "err", err)
		if err := os.Rename(l.path, kept); err != nil {
			return nil, fmt.Errorf("set damaged list of losses aside: %w", err)
		}
		_, err := l.add(Loss{MinTime: math.MinInt64, MaxTime: futureEdge(now()), Reason: reasonLossFile})
		return l, err
	}
	if state.Version != lossVersion {
		return nil, fmt.Errorf("list of losses %s has version %d, this build reads %d: run the build that wrote it", l.path, state.Version, lossVersion)
	}
	l.list = state.Losses
	return l, nil
}

// all returns the losses, oldest finding first. The slice is the caller's.
func (l *losses) all() []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// add makes a loss durable. One that is there already, equal in tenant, times and
// reason, is returned as it is.
func (l *losses) add(loss Loss) (Loss, error) {
	if loss.Tenant != "" && !validTenant(loss.Tenant) {
		return Loss{}, &InvalidTenantError{Tenant: loss.Tenant}
	}
	if loss.MinTime >= loss.MaxTime {
		return Loss{}, fmt.Errorf("loss of no time: from %d to %d", loss.MinTime, loss.MaxTime)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.list {
		if known.Tenant == loss.Tenant && known.MinTime == loss.MinTime && known.MaxTime == loss.MaxTime && known.Reason == loss.Reason {
			return known, nil
		}
	}
	loss.ID = ulid.Make().String()
	if loss.Found.IsZero() {
		loss.Found = l.now()
	}
	loss.Found = loss.Found.UTC().Truncate(time.Millisecond) // As the file has it.
	list := append(slices.Clone(l.list), loss)
	if len(list) > lossesMax {
		loss = union(list)
		loss.ID = ulid.Make().String()
		list = []Loss{loss}
	}
	if err := l.save(list); err != nil {
		return Loss{}, err
	}
	return loss, nil
}

// resolve takes a loss off the list; an unknown one is none.
func (l *losses) resolve(id string) (found bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(l.list), func(x Loss) bool { return x.ID == id })
	if len(list) == len(l.list) {
		return false, nil
	}
	return true, l.save(list)
}

// save commits a list; mu is held.
func (l *losses) save(list []Loss) error {
	raw, err := json.MarshalIndent(lossState{Version: lossVersion, Losses: list}, "", "\t")
	if err != nil {
		return fmt.Errorf("encode list of losses: %w", err)
	}
	if err := replaceFile(l.path, append(raw, '\n')); err != nil {
		return fmt.Errorf("write list of losses: %w", err)
	}
	l.list = list
	return nil
}

// union is one loss that covers all of list.
func union(list []Loss) Loss {
	all := list[0]
	for _, x := range list[1:] {
		all.MinTime = min(all.MinTime, x.MinTime)
		all.MaxTime = max(all.MaxTime, x.MaxTime)
		if x.Tenant != all.Tenant {
			all.Tenant = ""
		}
		if x.Found.After(all.Found) {
			all.Found = x.Found
		}
	}
	all.Reason = reasonManyLosses
	return all
}

// Losses returns what this store has lost and was not given back, in the order in
// which it was found. A loss stays until ResolveLoss, through restarts.
func (s *Store) Losses() []Loss { return s.losses.all() }

// AddLoss makes it durable that samples may be missing here, and returns it with its
// ID. One with the same tenant, times and reason as one that is there is the same.
func (s *Store) AddLoss(loss Loss) (Loss, error) {
	before := s.losses.all()
	added, err := s.losses.add(loss)
	if err != nil {
		return Loss{}, err
	}
	if !slices.ContainsFunc(before, func(x Loss) bool { return x.ID == added.ID }) {
		s.metrics.lossesFound.Inc()
		s.logger.Error("samples may be missing here until they are refilled", "loss", added.ID, "tenant", added.Tenant,
			"from", logTime(added.MinTime), "to", logTime(added.MaxTime), "reason", added.Reason)
	}
	return added, nil
}

// ResolveLoss forgets a loss durably: what was lost is back, or is wanted no more.
// One that is not there is no error.
func (s *Store) ResolveLoss(id string) error {
	found, err := s.losses.resolve(id)
	if err != nil {
		return err
	}
	if found {
		s.logger.Info("a loss is made good", "loss", id)
	}
	return nil
}

// futureMargin is how far ahead of this node's clock an acknowledged sample may be:
// members refuse more than 20 minutes.
const futureMargin = 20 * time.Minute

// futureEdge is the end (Unix ms, exclusive) of what can have been acknowledged
// until now.
func futureEdge(now time.Time) int64 { return now.Add(futureMargin).UnixMilli() }

// logTime is a time of a loss for people.
func logTime(ms int64) string {
	if ms == math.MinInt64 {
		return "the beginning"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}
