// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
)

// otlpBatchBytes and otlpBatchSeries are where a batch is full: small enough for its
// memory to be pooled, large enough that a collector's usual request is a few batches.
const (
	otlpBatchBytes  = 1 << 20
	otlpBatchSeries = 5_000
)

// otlpCollector is the storage.AppenderV2 that Prometheus' converter appends to. It
// writes what is appended out in 1.0 form and hands it to the Writer, a batch whenever
// one is full and the rest on Commit: an OTLP request is not a transaction here, as
// little as one of remote write is. It belongs to one request.
type otlpCollector struct {
	handler *handler
	request *http.Request
	room    *admission
	bounds  timeBounds
	result  *otlpResult

	batch   *Batch
	entries int      // series in the batch
	owners  []uint32 // of each of them the number of its data point; 0 for none
	last    otlpPoint
	points  uint32 // data points so far
	size    int64  // bytes of all series so far
	family  string // that the metadata in the batch was last of
	targets []targetSample
	scratch []byte
	// stopped is why nothing is taken any more, for the request as a whole.
	stopped error
	paid    bool
}

// otlpPoint tells a data point from the next one. Those of classic histograms and
// summaries become several series.
type otlpPoint struct {
	family string
	t      int64
	sum    bool // it has got its _sum only
}

// targetSample is a sample of target_info.
type targetSample struct {
	labels labels.Labels
	t      int64
	v      float64
}

// The metric that the converter makes of a resource; it is told by its help.
const (
	targetInfoName = "target_info"
	targetInfoHelp = "Target metadata"
)

// Append implements storage.AppenderV2. Its only errors are those that end the request;
// the converter takes them for a cancelled context and stops.
func (c *otlpCollector) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if opts.MetricFamilyName == targetInfoName && opts.Metadata.Help == targetInfoHelp {
		c.result.delivery.targets++
		c.targets = append(c.targets, targetSample{ls, t, v})
		return 0, c.end()
	}
	point := c.point(ls.Get(model.MetricNameLabel), t, h != nil || fh != nil, &opts)
	msg := appendLabelSet(c.scratch[:0], ls)
	switch {
	case fh != nil:
		msg = appendHistogram(msg, prompb.FromFloatHistogram(t, fh), st)
	case h != nil:
		msg = appendHistogram(msg, prompb.FromIntHistogram(t, h), st)
	default:
		msg = appendSample(msg, Sample{T: t, V: v, ST: st})
	}
	for i := range opts.Exemplars {
		msg = appendExemplar(msg, &opts.Exemplars[i])
	}
	c.scratch = msg
	c.add(msg, point, &opts)
	return 0, c.end()
}

// end returns an error once nothing is taken any more.
func (c *otlpCollector) end() error {
	switch {
	case c.stopped != nil:
		return fmt.Errorf("%w: %w", context.Canceled, c.stopped)
	case c.result.unavailable != "":
		return fmt.Errorf("%w: %s", context.Canceled, c.result.unavailable)
	default:
		return nil
	}
}

// point returns the number of the data point that a series is of. The converter appends
// those of one data point in a row: _sum if there is one, _count, then the buckets or
// quantiles.
func (c *otlpCollector) point(name string, t int64, native bool, opts *storage.AOptions) uint32 {
	family := opts.MetricFamilyName
	suffix, _ := strings.CutPrefix(name, family)
	same := !native && c.last.family == family && c.last.t == t
	switch opts.Metadata.Type {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram:
		same = same && (suffix == "_bucket" || suffix == "_count" && c.last.sum)
	case model.MetricTypeSummary:
		same = same && suffix != "_sum"
	default:
		same = false
	}
	if !same {
		c.points++
		if c.full() {
			c.flush()
		}
	}
	c.last = otlpPoint{family, t, suffix == "_sum"}
	return c.points
}

func (c *otlpCollector) full() bool {
	return c.batch != nil && (len(c.batch.bodyBuf) >= otlpBatchBytes || c.entries >= otlpBatchSeries)
}

// add puts a series, which belongs to the given data point, into the batch.
func (c *otlpCollector) add(msg []byte, point uint32, opts *storage.AOptions) {
	limits := c.room.limits
	if c.size += int64(len(msg)); c.size > limits.ExpandedBytes {
		c.stopped = &tooLargeError{"size after translation", c.size, limits.ExpandedBytes}
	}
	if c.end() != nil {
		return
	}
	// A data point is not split, unless it alone is more than a batch can be.
	if c.batch != nil && (c.entries >= limits.SeriesPerRequest || len(c.batch.bodyBuf) >= int(limits.DecodedBytes)) {
		c.flush()
	}
	if c.batch == nil {
		c.batch = c.handler.batches.getUnder(c.room.tenant, limits)
		c.entries, c.owners, c.family = 0, c.owners[:0], ""
	}
	b := c.batch
	b.bodyBuf = appendEntry(b.bodyBuf, fieldV1Series, msg)
	c.entries++
	c.owners = append(c.owners, point)
	if c.family != opts.MetricFamilyName && !opts.Metadata.IsEmpty() {
		c.family = opts.MetricFamilyName
		b.bodyBuf = appendMetadata(b.bodyBuf, Metadata{Name: c.family, Type: opts.Metadata.Type, Help: opts.Metadata.Help, Unit: opts.Metadata.Unit})
	}
}

// Commit implements storage.AppenderV2: it writes what is left.
func (c *otlpCollector) Commit() error {
	c.addTargets()
	c.flush()
	return c.stopped
}

// Rollback implements storage.AppenderV2: it drops what has not been written.
func (c *otlpCollector) Rollback() error {
	if c.batch != nil {
		c.batch.release()
		c.batch = nil
	}
	return nil
}

// addTargets adds the samples of target_info, one series for each set of labels and in
// the order of time: resources that differ in identifying attributes only, or not at
// all, come in any order.
func (c *otlpCollector) addTargets() {
	opts := storage.AOptions{
		MetricFamilyName: targetInfoName,
		Metadata:         metadata.Metadata{Type: model.MetricTypeGauge, Help: targetInfoHelp},
	}
	slices.SortStableFunc(c.targets, func(a, b targetSample) int {
		if n := labels.Compare(a.labels, b.labels); n != 0 {
			return n
		}
		return int(min(1, max(-1, a.t-b.t)))
	})
	for from := 0; from < len(c.targets); {
		first := &c.targets[from]
		msg := appendLabelSet(c.scratch[:0], first.labels)
		to := from
		for ; to < len(c.targets) && labels.Equal(c.targets[to].labels, first.labels); to++ {
			msg = appendSample(msg, Sample{T: c.targets[to].t, V: c.targets[to].v})
		}
		c.scratch = msg
		if c.full() {
			c.flush()
		}
		c.add(msg, 0, &opts)
		from = to
	}
}

// flush writes the batch and notes what became of it.
func (c *otlpCollector) flush() {
	b := c.batch
	if b == nil {
		return
	}
	c.batch = nil
	defer b.release()
	if c.end() != nil {
		return
	}
	if err := b.scanV1(b.bodyBuf); err != nil {
		c.stopped = err
		return
	}
	if err := b.siftAndValidate(c.bounds); err != nil {
		c.stopped = err
		return
	}
	if c.stopped = c.pay(b); c.stopped != nil {
		return
	}
	o := c.handler.cfg.Writer.Write(c.request.Context(), b)
	c.handler.metrics.count(b, o)
	c.handler.limited.series(c.room.tenant, b.refused)
	c.handler.limited.series(c.room.tenant, o.Rejected)
	c.result.addOutcome(b, o, c.owners)
	c.result.held = append(c.result.held, c.handler.cfg.Election.settle(b, &o)...)
}

// pay takes the samples of the request from the rate of the tenant, all of them before the
// first batch is written: what is answered 429 has stored nothing. What counts is what the
// data points become, not how many there are, and not target_info, which nobody sent. What
// is dropped of an HA replica is not paid for, or is paid back.
func (c *otlpCollector) pay(b *Batch) error {
	d, dropped := &c.result.delivery, b.ha.dropped.stored()
	d.identify(c.handler.cfg.Ledger, c.request, b)
	switch {
	case c.paid:
		c.room.refund(dropped)
		return nil
	case dropped > 0 && len(b.valid) == 0:
		return nil // A batch to come may be written.
	}
	c.paid = true
	return c.room.pay(c.handler.cfg.Now(), Counts{Samples: max(0, d.left-d.deduplicated-dropped)})
}

// appendLabelSet appends the label entries of a TimeSeries.
func appendLabelSet(dst []byte, ls labels.Labels) []byte {
	ls.Range(func(l labels.Label) {
		dst = appendLabel(dst, viewBytes(l.Name), viewBytes(l.Value))
	})
	return dst
}

// appendExemplar appends an Exemplar entry of a TimeSeries.
func appendExemplar(dst []byte, e *exemplar.Exemplar) []byte {
	msg := appendExemplarValue(appendLabelSet(nil, e.Labels), e.Value, e.Ts)
	return appendEntry(dst, fieldExemplars, msg)
}

// appendHistogram appends a Histogram entry of a TimeSeries, with its start timestamp.
func appendHistogram(dst []byte, h prompb.Histogram, st int64) []byte {
	msg, err := h.Marshal()
	if err != nil {
		return dst // Cannot happen: the buffer is made to measure.
	}
	// The generated encoder takes -0 for the default and leaves it out.
	if math.Float64bits(h.Sum) == 1<<63 {
		msg = append(msg, histSum<<3|wireFixed64)
		msg = binary.LittleEndian.AppendUint64(msg, 1<<63)
	}
	if st != 0 {
		msg = binary.AppendUvarint(msg, fieldHistogramStart<<3|wireVarint)
		msg = binary.AppendUvarint(msg, uint64(st))
	}
	return appendEntry(dst, fieldHistograms, msg)
}

// viewBytes is s as bytes without a copy, to be read only.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
