// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// AppenderSource opens appends to a tenant's storage. An error of it with a method
// Rejected() bool that returns true is a refusal that a retry cannot change, such as
// a limit; any other error means that the storage is unavailable. If it has a method
// Unavailable() string, that text is what senders are told; errors of storage name
// files.
type AppenderSource interface {
	AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error)
}

// LocalConfig configures the writes to this member's own storage.
type LocalConfig struct {
	Store AppenderSource
	// Metadata keeps metric metadata; nil drops it.
	Metadata *MetadataStore
	// MaxFuture is how far ahead of now a sample may be. It is twice what
	// coordinators allow, so that clocks some minutes apart change no verdict. Zero
	// means DefaultOwnerMaxFuture.
	MaxFuture time.Duration
	// Ready tells whether the storage takes writes; nil means always.
	Ready func() bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger hears of errors of the storage that nothing else knows; nil discards them.
	Logger *slog.Logger
}

// DefaultOwnerMaxFuture is the future guard of an owner.
const DefaultOwnerMaxFuture = 2 * DefaultMaxFuture

// Local writes to this member's own storage. Safe for concurrent use.
type Local struct {
	cfg     LocalConfig
	metrics *localMetrics
}

// NewLocal returns a Local. It starts nothing.
func NewLocal(cfg LocalConfig, reg prometheus.Registerer) *Local {
	setDefault(&cfg.MaxFuture, DefaultOwnerMaxFuture)
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Local{cfg: cfg, metrics: newLocalMetrics(reg)}
}

// Write appends the series of b at the given positions in one transaction. Every
// series has its own verdict: what is bad is left out and the rest committed. The
// commit makes it true; when it fails, all of it is unavailable. Write keeps nothing
// of b after returning.
func (l *Local) Write(ctx context.Context, b *Batch, part []uint32) Reply {
	if len(part) == 0 {
		return Reply{All: Accepted}
	}
	if !l.cfg.Ready() {
		return unavailable(ReasonNotReady, "storage is not ready")
	}
	app, err := l.cfg.Store.AppenderV2(ctx, b.Tenant)
	if err != nil {
		return replyForOpen(err)
	}
	tx := transaction{
		app:   app,
		batch: b,
		part:  part,

		generation: generationOf(app),
		maxTime:    l.cfg.Now().Add(l.cfg.MaxFuture).UnixMilli(),
	}
	if err := tx.run(); err != nil {
		return unavailable(ReasonStorage, unavailableCause(err))
	}
	if tx.unknown != nil {
		l.cfg.Logger.Error("storage refused a sample for a reason that is not known; its sender will retry", "tenant", b.Tenant, "err", tx.unknown)
	}
	tx.publishRefs()
	l.appendLooseExemplars(ctx, &tx)
	l.settleDoubts(ctx, &tx)
	l.metrics.count(&tx)
	return Reply{All: Accepted, Faults: tx.sortedFaults()}
}

// ApplyMetadata keeps metadata and returns what other members should be told.
func (l *Local) ApplyMetadata(tenant string, entries []Metadata) []Metadata {
	if l.cfg.Metadata == nil || len(entries) == 0 {
		return nil
	}
	return l.cfg.Metadata.Apply(tenant, entries)
}

// replyForOpen classifies an error of opening the storage of a tenant.
func replyForOpen(err error) Reply {
	var r interface{ Rejected() bool }
	if errors.As(err, &r) && r.Rejected() {
		return Reply{All: Rejected, Reason: ReasonTenantLimit, Detail: err.Error()}
	}
	return unavailable(ReasonStorage, unavailableCause(err))
}

// unavailableCause is what may be told of an error to anyone.
func unavailableCause(err error) string {
	var u interface{ Unavailable() string }
	if errors.As(err, &u) {
		return u.Unavailable()
	}
	return "storage is unavailable"
}

// transaction appends the part of a batch that one owner has.
type transaction struct {
	app     storage.AppenderV2
	batch   *Batch
	part    []uint32
	maxTime int64

	// generation is the open of the TSDB that references must be of; 0 if the
	// appender does not tell, and then none is used.
	generation uint32
	decoder    *labelDecoder // made when a series has to be named after all

	noted    []notedRef
	hosts    exemplarHosts
	faults   []Fault
	appended int
	loose    []looseExemplar
	doubtful []looseExemplar // see exemplar_stored.go
	unknown  error           // of an append; the last one
}

// generationOf returns the low bits of the number of the open TSDB, which is enough to
// tell one open from the next.
func generationOf(app storage.AppenderV2) uint32 {
	g, ok := app.(interface{ Generation() uint64 })
	if !ok {
		return 0
	}
	return uint32(g.Generation())
}

// run appends and commits. It ends the transaction whatever happens, as others wait
// for it; whoever called it sees a panic.
func (tx *transaction) run() error {
	ended := false
	defer func() {
		if !ended {
			_ = tx.app.Rollback() // After a panic, which says more.
		}
	}()
	tx.appendAll()
	ended = true
	if tx.appended == 0 {
		return tx.app.Rollback()
	}
	return tx.app.Commit()
}

func (tx *transaction) appendAll() {
	tx.hosts = hostExemplars(tx.batch, tx.part)
	for pos, i := range tx.part {
		s := &tx.batch.series[i]
		done, err := tx.appendPlain(s)
		if !done {
			a := seriesAppend{tx: tx, pos: uint32(pos), s: s, failed: err}
			a.run()
		}
	}
	tx.loose = append(tx.loose, tx.hosts.loose...)
}

// seriesAppend appends one series. Items that are refused are collected; the first
// reason is the one that is told.
type seriesAppend struct {
	tx  *transaction
	pos uint32
	s   *Series

	ref       storage.SeriesRef
	exemplars pendingExemplars
	fault     Fault
	// failed is what appendPlain got for the sample.
	failed error
}

func (a *seriesAppend) run() {
	a.ref = a.tx.refOf(a.s)
	a.exemplars = a.tx.hosts.take(a.tx.batch, a.pos, a.s)
	item := uint32(0)
	for _, smp := range a.tx.batch.samplesOf(a.s) {
		a.append(item, smp, nil)
		item++
	}
	histograms := a.tx.batch.histogramsOf(a.s)
	for i := range histograms {
		h := &histograms[i]
		a.append(item, Sample{T: h.t, ST: h.st}, h)
		item++
	}
	// What no sample could carry has no series in this transaction.
	a.tx.loose = append(a.tx.loose, a.exemplars.items...)
	a.finish()
	a.tx.noteRef(a.s, a.ref)
}

// append appends one sample, or the histogram h at the time of smp.
func (a *seriesAppend) append(item uint32, smp Sample, h *histogramView) {
	if a.fault.Verdict == Unavailable {
		return
	}
	if smp.T > a.tx.maxTime {
		a.refuse(item, ReasonFuture, smp.T, "too far in the future")
		return
	}
	err := a.appendTo(smp, h)
	switch reason, detail := classify(err); {
	case err == nil:
		a.tx.appended++
	case reason == "":
		a.fault = Fault{Verdict: Unavailable, Reason: ReasonStorage, Detail: unavailableCause(err)}
		a.tx.unknown = err
	default:
		a.refuse(item, reason, smp.T, detail)
	}
}

func (a *seriesAppend) appendTo(smp Sample, h *histogramView) error {
	var opts storage.AOptions
	var ih *histogram.Histogram
	var fh *histogram.FloatHistogram
	if h != nil {
		var bad error
		if ih, fh, bad = h.decode(); bad != nil {
			return &refusal{ReasonHistogram, bad.Error()}
		}
	}
	if a.exemplars.values != nil && !isStale(smp, ih, fh) {
		opts.Exemplars = a.exemplars.values
	}
	var ls labels.Labels
	if a.ref == 0 {
		ls = a.tx.labelsOf(a.s)
	}
	ref, err := storage.SeriesRef(0), a.failed
	if a.failed = nil; err == nil {
		ref, err = a.tx.app.Append(a.ref, ls, smp.ST, smp.T, smp.V, ih, fh, opts)
	}
	if err != nil && a.ref != 0 && errors.Is(err, tsdb.ErrInvalidSample) {
		// The head has dropped the series, and without labels it cannot make it anew.
		ref, err = a.tx.app.Append(0, a.tx.labelsOf(a.s), smp.ST, smp.T, smp.V, ih, fh, opts)
	}
	if err != nil && h == nil && value.IsStaleNaN(smp.V) && errors.Is(err, storage.ErrDuplicateSampleForTimestamp) {
		ref, err = a.appendStaleAgain(smp, err)
	}
	if err != nil {
		var partial *storage.AppendPartialError
		if !errors.As(err, &partial) {
			return err
		}
		a.tx.doubtful = append(a.tx.doubtful, a.exemplars.items...)
	}
	a.ref = ref
	if opts.Exemplars != nil {
		a.exemplars = pendingExemplars{}
	}
	return nil
}

// appendStaleAgain appends a stale marker that was refused because there is another sample at its time. Prometheus sends
// the marker of a native histogram as a float, and the TSDB keeps it as a histogram: sent once more, it is taken for another
// value. If what is there is that marker, the append changes nothing and succeeds.
func (a *seriesAppend) appendStaleAgain(smp Sample, refused error) (storage.SeriesRef, error) {
	ls := labels.EmptyLabels()
	if a.ref == 0 {
		ls = a.tx.labelsOf(a.s)
	}
	ref, err := a.tx.app.Append(a.ref, ls, smp.ST, smp.T, 0, &histogram.Histogram{Sum: smp.V}, nil, storage.AOptions{})
	if err != nil {
		ref, err = a.tx.app.Append(a.ref, ls, smp.ST, smp.T, 0, nil, &histogram.FloatHistogram{Sum: smp.V}, storage.AOptions{})
	}
	if err != nil {
		return 0, refused
	}
	return ref, nil
}

func (a *seriesAppend) refuse(item uint32, reason Reason, t int64, detail string) {
	if a.fault.Verdict == pending {
		a.fault.Verdict, a.fault.Reason = Rejected, reason
		a.fault.Detail = fmt.Sprintf("timestamp %d: %s", t, detail)
	}
	a.fault.Items = append(a.fault.Items, item)
}

// finish records the fault of the series, if it has one.
func (a *seriesAppend) finish() {
	if a.fault.Verdict == pending {
		return
	}
	a.fault.Pos = a.pos
	if a.fault.Verdict == Unavailable || len(a.fault.Items) == a.tx.batch.counts(a.s).total() {
		a.fault.Items = nil
	}
	a.tx.faults = append(a.tx.faults, a.fault)
}

// labels returns the labels of the series at a position of the part.
func (tx *transaction) labels(pos uint32) labels.Labels {
	return tx.labelsOf(&tx.batch.series[tx.part[pos]])
}

func (tx *transaction) labelsOf(s *Series) labels.Labels {
	if tx.decoder == nil {
		d := newLabelDecoder()
		tx.decoder = &d
	}
	return tx.batch.labelsOf(s, tx.decoder)
}
