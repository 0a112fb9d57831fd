// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the operation label.
const (
	opList        = "list"
	opGet         = "get"
	opGetRange    = "get_range"
	opAttributes  = "attributes"
	opExists      = "exists"
	opPut         = "put"
	opPutIfAbsent = "put_if_absent"
	opPutIfMatch  = "put_if_match"
	opDelete      = "delete"
)

// listPage is how many objects S3 lists in one answer.
const listPage = 1000

type bucketMetrics struct {
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	pages      prometheus.Counter
}

func newBucketMetrics(reg prometheus.Registerer) *bucketMetrics {
	m := &bucketMetrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_bucket_operations_total",
			Help: "Operations on the bucket. One may be more than one request: listings have pages, large objects have parts.",
		}, []string{"operation"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_bucket_operation_failures_total",
			Help: "Operations on the bucket that failed. An object that is not there and a precondition that does not hold are answers.",
		}, []string{"operation"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "penstock_bucket_operation_duration_seconds",
			Help:    "Time of an operation on the bucket; of a read until its content was closed.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"operation"}),
	}
	m.pages = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "penstock_bucket_list_pages_total",
		Help: "Pages of 1,000 objects that listings had, each of which is a request to S3.",
	})
	for _, op := range []string{opList, opGet, opGetRange, opAttributes, opExists, opPut, opPutIfAbsent, opPutIfMatch, opDelete} {
		m.operations.WithLabelValues(op)
		m.failures.WithLabelValues(op)
		m.seconds.WithLabelValues(op)
	}
	if reg != nil {
		reg.MustRegister(m.operations, m.failures, m.seconds, m.pages)
	}
	return m
}

// done counts one operation. A cancelled context is the caller's doing and no fault of the store.
func (m *bucketMetrics) done(op string, begin time.Time, err error) {
	m.operations.WithLabelValues(op).Inc()
	m.seconds.WithLabelValues(op).Observe(time.Since(begin).Seconds())
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrPrecondition) && !errors.Is(err, context.Canceled) {
		m.failures.WithLabelValues(op).Inc()
	}
}

// Instrument returns b with operations, failures and durations counted on reg. A nil reg returns b itself.
func Instrument(b Bucket, reg prometheus.Registerer) Bucket {
	if reg == nil {
		return b
	}
	return instrumented{b, newBucketMetrics(reg)}
}

type instrumented struct {
	Bucket
	m *bucketMetrics
}

func (i instrumented) List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error {
	begin := time.Now()
	var fromCaller error
	listed := 0
	i.m.pages.Inc()
	err := i.Bucket.List(ctx, prefix, recursive, func(o Object) error {
		if listed++; listed > 1 && listed%listPage == 1 {
			i.m.pages.Inc()
		}
		fromCaller = fn(o)
		return fromCaller
	})
	if fromCaller != nil {
		i.m.done(opList, begin, nil)
		return err
	}
	i.m.done(opList, begin, err)
	return err
}

func (i instrumented) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	begin := time.Now()
	r, err := i.Bucket.Get(ctx, key)
	return i.content(opGet, begin, r, err)
}

func (i instrumented) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	begin := time.Now()
	r, err := i.Bucket.GetRange(ctx, key, off, length)
	return i.content(opGetRange, begin, r, err)
}

func (i instrumented) content(op string, begin time.Time, r io.ReadCloser, err error) (io.ReadCloser, error) {
	if err != nil {
		i.m.done(op, begin, err)
		return nil, err
	}
	return &instrumentedContent{ReadCloser: r, done: func(err error) { i.m.done(op, begin, err) }}, nil
}

// instrumentedContent counts its operation when it is closed, as failed if the content broke off.
type instrumentedContent struct {
	io.ReadCloser
	err  error
	done func(error)
}

func (c *instrumentedContent) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *instrumentedContent) Close() error {
	err := c.ReadCloser.Close()
	if c.done != nil {
		c.done(errors.Join(c.err, err))
		c.done = nil
	}
	return err
}

func (i instrumented) Attributes(ctx context.Context, key string) (_ Attributes, err error) {
	defer func(begin time.Time) { i.m.done(opAttributes, begin, err) }(time.Now())
	return i.Bucket.Attributes(ctx, key)
}

func (i instrumented) Exists(ctx context.Context, key string) (_ bool, err error) {
	defer func(begin time.Time) { i.m.done(opExists, begin, err) }(time.Now())
	return i.Bucket.Exists(ctx, key)
}

func (i instrumented) Put(ctx context.Context, key string, r io.Reader, size int64) (err error) {
	defer func(begin time.Time) { i.m.done(opPut, begin, err) }(time.Now())
	return i.Bucket.Put(ctx, key, r, size)
}

func (i instrumented) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (_ string, err error) {
	defer func(begin time.Time) { i.m.done(opPutIfAbsent, begin, err) }(time.Now())
	return i.Bucket.PutIfAbsent(ctx, key, r, size)
}

func (i instrumented) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (_ string, err error) {
	defer func(begin time.Time) { i.m.done(opPutIfMatch, begin, err) }(time.Now())
	return i.Bucket.PutIfMatch(ctx, key, etag, r, size)
}

func (i instrumented) Delete(ctx context.Context, key string) (err error) {
	defer func(begin time.Time) { i.m.done(opDelete, begin, err) }(time.Now())
	return i.Bucket.Delete(ctx, key)
}
