// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// errWriteFailed is the cause given when only a counter told of the failure.
var errWriteFailed = errors.New("a write to the WAL or WBL failed")

// errAppenderDone is returned by a second Commit or Rollback.
var errAppenderDone = errors.New("appender was committed or rolled back before")

// appender appends to one instance and acknowledges only while its logs are
// whole. It must be committed or rolled back, because a reopen waits for it.
// Like every appender it is for one goroutine.
type appender struct {
	storage.AppenderV2
	tenant  *tenant
	inst    *instance
	samples int
	done    bool
}

var _ storage.GetRef = (*appender)(nil)

// appender enters the tenant's gate; the appender leaves it.
func (t *tenant) appender(ctx context.Context) (*appender, error) {
	if err := t.gate.enterAppend(); err != nil {
		return nil, err
	}
	inst := t.inst.Load()
	return &appender{AppenderV2: inst.db.AppenderV2(ctx), tenant: t, inst: inst}, nil
}

// Generation tells this open of the TSDB from every other. A series reference
// is good for appenders of the same generation only.
func (a *appender) Generation() uint64 { return a.inst.generation }

// Append implements storage.AppenderV2.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	ref, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil || ref != 0 { // With a reference, only exemplars were refused.
		a.samples++
	}
	return ref, err
}

// GetRef implements storage.GetRef.
func (a *appender) GetRef(lset labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if g, ok := a.AppenderV2.(storage.GetRef); ok {
		return g.GetRef(lset, hash)
	}
	return 0, labels.EmptyLabels()
}

// Commit returns nil only when all that was appended is in the write logs and no
// write to them has failed since the TSDB was opened. Any error means
// unavailable: nothing may be acknowledged, and the same samples may be sent again.
func (a *appender) Commit() (err error) {
	if a.done {
		return errAppenderDone
	}
	a.done = true
	defer a.tenant.gate.leaveAppend()
	defer a.recoverInto(&err)

	err = a.AppenderV2.Commit()
	if err == nil && a.inst.sync != nil {
		err = a.inst.sync.wait()
	}
	if err == nil && a.inst.writesFailed() {
		err = errWriteFailed
	}
	if err != nil {
		a.tenant.fail(a.inst, err)
	} else if a.inst.failed.Load() {
		err = errWriteFailed // Of somebody else, after which nothing is sure.
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReopening, err)
	}
	a.inst.lastAppend.Store(a.tenant.store.cfg.Now().UnixMilli())
	a.tenant.store.metrics.appended.Add(float64(a.samples))
	return nil
}

// Rollback drops what was appended. The TSDB logs the new series even so.
func (a *appender) Rollback() (err error) {
	if a.done {
		return errAppenderDone
	}
	a.done = true
	defer a.tenant.gate.leaveAppend()
	defer a.recoverInto(&err)

	err = a.AppenderV2.Rollback()
	if a.inst.writesFailed() {
		a.tenant.fail(a.inst, errors.Join(errWriteFailed, err))
	}
	return err
}

// recoverInto makes an error of a panic of the TSDB, which panics when it cannot
// write a head chunk. It may have left a series locked, so it is not used again.
func (a *appender) recoverInto(err *error) {
	r := recover()
	if r == nil {
		return
	}
	a.inst.wedged.Store(true)
	cause := fmt.Errorf("%w (panic: %v)", errWedged, r)
	a.tenant.fail(a.inst, cause)
	*err = fmt.Errorf("%w: %w", ErrReopening, cause)
}
