// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
)

// fakeLosses is a lossStore in memory that may fail.
type fakeLosses struct {
	list []tsdbstore.Loss
	err  error
}

func (f *fakeLosses) Losses() []tsdbstore.Loss { return slices.Clone(f.list) }

func (f *fakeLosses) AddLoss(l tsdbstore.Loss) (tsdbstore.Loss, error) {
	if f.err == nil {
		f.list = append(f.list, l)
	}
	return l, f.err
}

// fakeSelf is a membership whose only member has been told something.
type fakeSelf struct {
	replaced, refilled uint64
	holes              bool
}

func (f *fakeSelf) View() *ring.View {
	return viewOf(3, 3, func(ms []ring.MemberStatus) { ms[0].Generation, ms[0].Replaced = 100, f.replaced })
}
func (f *fakeSelf) SetState(ring.State) error { return nil }

func (f *fakeSelf) SetData(holes bool, refilled uint64) error {
	f.holes, f.refilled = holes, refilled
	return nil
}

type watchTest struct {
	*dataWatch
	losses *fakeLosses
	self   *fakeSelf
	clock  time.Time
}

func newWatchTest(t *testing.T) *watchTest {
	w := &watchTest{losses: &fakeLosses{}, self: &fakeSelf{}, clock: time.Unix(1_700_000_000, 0)}
	path := filepath.Join(t.TempDir(), "data.json")
	w.dataWatch = &dataWatch{
		store: w.losses, members: w.self, logger: slog.New(slog.DiscardHandler), path: path,
		retention: 24 * time.Hour, future: 20 * time.Minute, outOfOrder: 2 * time.Hour, hintAge: 90 * time.Minute, copies: true,
		now: func() time.Time { return w.clock },
	}
	return w
}

// restart is a new process on the same disk.
func (w *watchTest) restart(t *testing.T) {
	t.Helper()
	d := *w.dataWatch
	d.record = dataRecord{}
	w.dataWatch = &d
	w.self.holes, w.self.refilled = false, 0
	require.NoError(t, w.begin(w.clock, w.clock))
}

func TestDataWatchOfAReplacedDisk(t *testing.T) {
	w := newWatchTest(t)
	w.self.replaced = 7
	w.losses.err = errors.New("disk full")
	require.Error(t, w.begin(w.clock, w.clock), "what cannot be recorded must not be relied on")
	w.losses.err = nil
	require.NoError(t, w.begin(w.clock, w.clock))
	require.Len(t, w.losses.list, 1)
	l := w.losses.list[0]
	require.Equal(t, w.clock.Add(-24*time.Hour).UnixMilli(), l.MinTime)
	require.Equal(t, w.clock.Add(20*time.Minute).UnixMilli(), l.MaxTime)
	require.Empty(t, l.Tenant)
	require.True(t, w.self.holes)
	require.Zero(t, w.self.refilled)

	w.restart(t)
	require.Len(t, w.losses.list, 1, "the loss is on disk already")
	require.True(t, w.self.holes)

	// A crash between the end of the refill and the record of it.
	w.losses.list = nil
	w.restart(t)
	require.False(t, w.self.holes)
	require.EqualValues(t, 7, w.self.refilled)
	w.restart(t)
	require.Empty(t, w.losses.list)
	require.EqualValues(t, 7, w.self.refilled)

	// An even later former generation, heard of while running.
	w.self.replaced = 8
	require.NoError(t, w.look())
	require.Len(t, w.losses.list, 1)
	require.True(t, w.self.holes)
	require.EqualValues(t, 7, w.self.refilled)
}

func TestDataWatchOfAnAbsence(t *testing.T) {
	w := newWatchTest(t)
	require.NoError(t, w.begin(w.clock, w.clock))
	w.clock = w.clock.Add(89 * time.Minute)
	w.restart(t)
	require.Empty(t, w.losses.list, "hints were kept for all of it")

	left := w.clock
	w.clock = w.clock.Add(3 * time.Hour)
	w.restart(t)
	require.Len(t, w.losses.list, 1)
	require.LessOrEqual(t, w.losses.list[0].MinTime, left.Add(-2*time.Hour).UnixMilli())
	require.True(t, strings.HasPrefix(w.losses.list[0].Reason, reasonAway))
	require.False(t, w.self.holes, "as many others as were promised have what was written meanwhile")
	w.losses.list = append(w.losses.list, tsdbstore.Loss{Reason: "a block was damaged"})
	require.NoError(t, w.look())
	require.True(t, w.self.holes)
}

func TestDataWatchOfDeletedTSDBs(t *testing.T) {
	w := newWatchTest(t)
	require.NoError(t, w.begin(w.clock.Add(-time.Hour), w.clock))
	require.Len(t, w.losses.list, 1)
	require.Equal(t, reasonDeleted, w.losses.list[0].Reason)
	w.losses.list = nil
	w.restart(t)
	require.Empty(t, w.losses.list)

	alone := newWatchTest(t)
	alone.copies = false
	require.NoError(t, alone.begin(alone.clock.Add(-time.Hour), alone.clock))
	require.Empty(t, alone.losses.list, "nobody could give it back")
}
