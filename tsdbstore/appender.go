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

// transaction is one append to one instance. It acknowledges only while the
// instance's logs are whole. It must be committed or rolled back, because a reopen
// waits for it. Like every appender it is for one goroutine.
type transaction struct {
	tenant *tenant
	inst   *instance
	done   bool
	// creating is set while it holds inst.creating.
	creating bool
}

// appender appends samples.
type appender struct {
	storage.AppenderV2
	transaction
	samples int
}

// exemplarAppender appends what AppenderV2 cannot: exemplars of series that have
// no sample in the same transaction.
type exemplarAppender struct {
	storage.Appender
	transaction
}

var _ storage.GetRef = (*appender)(nil)

// begin enters the tenant's gate; the end of the transaction leaves it.
func (t *tenant) begin() (transaction, error) {
	if err := t.gate.enterAppend(); err != nil {
		return transaction{}, err
	}
	return transaction{tenant: t, inst: t.inst.Load()}, nil
}

func (t *tenant) appender(ctx context.Context) (storage.AppenderV2, error) {
	tx, err := t.begin()
	if err != nil {
		return nil, err
	}
	return &appender{AppenderV2: tx.inst.db.AppenderV2(ctx), transaction: tx}, nil
}

func (t *tenant) exemplarAppender(ctx context.Context) (storage.Appender, error) {
	tx, err := t.begin()
	if err != nil {
		return nil, err
	}
	return &exemplarAppender{Appender: tx.inst.db.Appender(ctx), transaction: tx}, nil
}

// Generation tells this open of the TSDB from every other. A series reference
// is good for appenders of the same generation only.
func (a *appender) Generation() uint64 { return a.inst.generation }

// Append implements storage.AppenderV2. Without a reference it waits for other
// transactions that may have made series: one goroutine must not have two of them.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if ref == 0 {
		a.create()
	}
	ref, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil || ref != 0 { // With a reference, only exemplars were refused.
		a.samples++
	}
	return ref, err
}

// GetRef implements storage.GetRef. It waits as an Append without a reference does.
func (a *appender) GetRef(lset labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if g, ok := a.AppenderV2.(storage.GetRef); ok {
		a.create()
		return g.GetRef(lset, hash)
	}
	return 0, labels.EmptyLabels()
}

// Commit returns nil only when all that was appended is in the write logs and no
// write to them has failed since the TSDB was opened. Any error means
// unavailable: nothing may be acknowledged, and the same samples may be sent again.
func (a *appender) Commit() error {
	if err := a.commit(a.AppenderV2.Commit); err != nil {
		return err
	}
	a.inst.lastAppend.Store(a.tenant.store.cfg.Now().UnixMilli())
	a.tenant.store.metrics.appended.Add(float64(a.samples))
	return nil
}

// Rollback drops what was appended. The TSDB logs the new series even so.
func (a *appender) Rollback() error { return a.rollback(a.AppenderV2.Rollback) }

// Commit is that of appender.
func (a *exemplarAppender) Commit() error { return a.commit(a.Appender.Commit) }

// Rollback is that of appender.
func (a *exemplarAppender) Rollback() error { return a.rollback(a.Appender.Rollback) }

func (x *transaction) commit(commit func() error) (err error) {
	if x.done {
		return errAppenderDone
	}
	x.done = true
	defer x.tenant.gate.leaveAppend()
	defer x.recoverInto(&err)
	defer x.created() // If commit panics.

	err = x.inst.inOrder(commit)
	x.created()
	if err == nil && x.inst.sync != nil {
		err = x.inst.sync.wait()
	}
	if err == nil && x.inst.writesFailed() {
		err = errWriteFailed
	}
	if err != nil {
		x.tenant.fail(x.inst, err)
	} else if x.inst.failed.Load() {
		err = errWriteFailed // Of somebody else, after which nothing is sure.
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReopening, err)
	}
	return nil
}

func (x *transaction) rollback(rollback func() error) (err error) {
	if x.done {
		return errAppenderDone
	}
	x.done = true
	defer x.tenant.gate.leaveAppend()
	defer x.recoverInto(&err)
	defer x.created()

	err = rollback()
	if x.inst.writesFailed() {
		x.tenant.fail(x.inst, errors.Join(errWriteFailed, err))
	}
	return err
}

// create keeps other transactions from appending by labels until this one has ended.
// The TSDB logs a series with the transaction that made it. One that found the series
// and committed first would log samples of a series that the log does not know yet, and
// a replay skips those: they would be acknowledged, and gone after a kill. Whoever keeps
// references from an Append may use them after the Commit only, for the same reason.
func (x *transaction) create() {
	if !x.creating {
		x.inst.creating.Lock()
		x.creating = true
	}
}

// created ends create; idempotent.
func (x *transaction) created() {
	if x.creating {
		x.creating = false
		x.inst.creating.Unlock()
	}
}

// recoverInto makes an error of a panic of the TSDB, which panics when it cannot
// write a head chunk. It may have left a series locked, so it is not used again.
func (x *transaction) recoverInto(err *error) {
	r := recover()
	if r == nil {
		return
	}
	x.inst.wedged.Store(true)
	cause := fmt.Errorf("%w (panic: %v)", errWedged, r)
	x.tenant.fail(x.inst, cause)
	*err = fmt.Errorf("%w: %w", ErrReopening, cause)
}
