// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
)

const (
	// dataPoll is how soon the others hear of a new loss, or that one was made good.
	dataPoll = time.Second
	// aliveEvery is how far off the record of when this member last ran may be.
	aliveEvery = time.Minute
	// birthSlack is how much later than the data directory its TSDBs may be made: they
	// are made at the same start, on whatever disk.
	birthSlack = 5 * time.Minute

	reasonReplaced = "disk replaced"
	reasonDeleted  = "TSDBs deleted"
	// reasonAway marks losses of writes that were acknowledged without this member. There are as many
	// copies of them elsewhere as were promised, so queries may count on this member.
	reasonAway = "away for longer than hints are kept"
)

// lossStore is what the watch needs of the local store.
type lossStore interface {
	Losses() []tsdbstore.Loss
	AddLoss(loss tsdbstore.Loss) (tsdbstore.Loss, error)
}

// dataWatch finds out what this member has lost as a whole (a disk, a time it was away),
// and tells the other members whether it is whole. Its methods are called one at a time.
type dataWatch struct {
	store   lossStore
	members membership
	logger  *slog.Logger
	path    string // Of the record.
	// Ranges of the losses that are added: how far back, how far ahead.
	retention, future time.Duration
	// outOfOrder is how old a sample may be that is written now, hintAge how long hints wait.
	outOfOrder, hintAge time.Duration
	// copies is whether other members have copies at all.
	copies bool
	now    func() time.Time

	record dataRecord
}

// begin reads the record and looks back at the time before this start. identityMade and storeMade
// are when the data directory and its TSDBs were made.
func (d *dataWatch) begin(identityMade, storeMade time.Time) error {
	record, found, damaged := loadDataRecord(d.path)
	if damaged != nil {
		d.logger.Warn("cannot read what was refilled before; it may be refilled again", "err", damaged)
	}
	d.record = record
	now := d.now()
	if away := now.Sub(record.Alive); found && d.copies && away > d.hintAge {
		reason := fmt.Sprintf("%s: from %s to %s", reasonAway, record.Alive.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		if err := d.lose(reason, record.Alive.Add(-d.outOfOrder-aliveEvery), now); err != nil {
			return err
		}
	}
	if !found && d.copies && storeMade.Sub(identityMade) > birthSlack {
		if err := d.lose(reasonDeleted, now.Add(-d.retention), now); err != nil {
			return err
		}
	}
	return d.look()
}

// look takes note of what has changed and tells the others. An error means that something
// could not be made durable, and that it must be called again before this member is relied on.
func (d *dataWatch) look() error {
	now := d.now()
	view := d.members.View()
	self, _ := view.Member(view.Self)
	if self.Replaced > max(d.record.Refilled, d.record.Replacing) {
		if err := d.lose(fmt.Sprintf("%s: %d by %d", reasonReplaced, self.Replaced, self.Generation), now.Add(-d.retention), now); err != nil {
			return err
		}
		// After the loss: a crash in between adds it once more, the other order none.
		d.record.Replacing = self.Replaced
		if err := d.save(now); err != nil {
			d.record.Replacing = 0
			return err
		}
	}
	losses := d.store.Losses()
	if d.record.Replacing > d.record.Refilled && len(losses) == 0 {
		before := d.record
		d.record.Refilled, d.record.Replacing = d.record.Replacing, 0
		if err := d.save(now); err != nil {
			d.record = before
			return err
		}
	}
	if now.Sub(d.record.Alive) >= aliveEvery {
		if err := d.save(now); err != nil {
			return err
		}
	}
	// The values hold even if gossip is late with them.
	if err := d.members.SetData(lacking(losses), d.record.Refilled); err != nil {
		d.logger.Warn("the other members may learn late what data this one lacks", "err", err)
	}
	return nil
}

// run looks on until ctx ends.
func (d *dataWatch) run(ctx context.Context) error {
	tick := time.NewTicker(dataPoll)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := d.look()
		if text := fmt.Sprint(err); err != nil && text != said {
			d.logger.Error("cannot record what data this member lacks, trying again", "err", err)
			said = text
		} else if err == nil {
			said = ""
		}
	}
}

func (d *dataWatch) lose(reason string, from, now time.Time) error {
	_, err := d.store.AddLoss(tsdbstore.Loss{
		MinTime: max(from.UnixMilli(), now.Add(-d.retention).UnixMilli()),
		MaxTime: now.Add(d.future).UnixMilli(),
		Reason:  reason, Found: now,
	})
	if err != nil {
		return fmt.Errorf("record a loss: %w", err)
	}
	return nil
}

func (d *dataWatch) save(now time.Time) error {
	before := d.record.Alive
	d.record.Alive = now
	if err := d.record.save(d.path); err != nil {
		d.record.Alive = before
		return err
	}
	return nil
}

// lacking tells whether among the losses is one of samples that were acknowledged on this member's word.
func lacking(losses []tsdbstore.Loss) bool {
	for _, l := range losses {
		if !slices.ContainsFunc(reasonsWithout, func(reason string) bool { return strings.HasPrefix(l.Reason, reason) }) {
			return true
		}
	}
	return false
}

// reasonsWithout begin the reasons of losses of what was acknowledged without this member.
var reasonsWithout = []string{reasonAway, reasonHintsLost, reasonShortRing}

// membership is the ring as the rest of the node sees it.
type membership interface {
	View() *ring.View
	SetState(state ring.State) error
	SetData(holes bool, refilled uint64) error
}
