// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// batchOf is a validated batch of the given series.
func batchOf(t testing.TB, series ...prompb.TimeSeries) *Batch {
	t.Helper()
	data, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	require.NoError(t, err)
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get(testTenant)
	b.bodyBuf = data
	require.NoError(t, b.parse(protoV1, anyTime()))
	return b
}

// brokenStore fails where it is told to.
type brokenStore struct {
	AppenderSource
	open, commit error
	appendErr    func(series string) error
}

func (s *brokenStore) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	if s.open != nil {
		return nil, s.open
	}
	app, err := s.AppenderSource.AppenderV2(ctx, tenant)
	return &brokenAppender{app, s}, err
}

type brokenAppender struct {
	storage.AppenderV2
	store *brokenStore
}

func (a *brokenAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if a.store.appendErr != nil {
		if err := a.store.appendErr(ls.Get("__name__")); err != nil {
			return 0, err
		}
	}
	return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
}

func (a *brokenAppender) Commit() error {
	if a.store.commit != nil {
		return errors.Join(a.store.commit, a.AppenderV2.Rollback())
	}
	return a.AppenderV2.Commit()
}

type rejectedError struct{ error }

func (rejectedError) Rejected() bool { return true }

// TestLocalWholeVerdicts are the causes that all series of a write share.
func TestLocalWholeVerdicts(t *testing.T) {
	t.Parallel()
	disk := openStore(t)
	b := batchOf(t, seriesV1(nowMillis(), 1, "__name__", "x"))
	f := func(want Verdict, reason Reason, cfg LocalConfig) {
		t.Helper()
		r := NewLocal(cfg, nil).Write(t.Context(), b, b.valid)
		require.Equal(t, want, r.All)
		require.Equal(t, reason, r.Reason)
		require.Empty(t, r.Faults)
	}
	f(Unavailable, ReasonNotReady, LocalConfig{Store: disk, Ready: func() bool { return false }})
	f(Unavailable, ReasonStorage, LocalConfig{Store: &brokenStore{open: errors.New("reopening")}})
	f(Rejected, ReasonTenantLimit, LocalConfig{Store: &brokenStore{open: fmt.Errorf("open: %w", rejectedError{errors.New("100 tenants")})}})
	f(Unavailable, ReasonStorage, LocalConfig{Store: &brokenStore{AppenderSource: disk, commit: errors.New("disk full")}})
	require.Empty(t, disk.dump(t), "nothing may be left of a write that failed")
	f(Accepted, "", LocalConfig{Store: disk})
}

// TestLocalStorageFailureOfOneSeries leaves the others of the batch alone: whatever is
// wrong with one series must not make a request fail again and again.
func TestLocalStorageFailureOfOneSeries(t *testing.T) {
	t.Parallel()
	disk := openStore(t)
	now := nowMillis()
	b := batchOf(t, seriesV1(now, 1, "__name__", "good"), seriesV1(now, 1, "__name__", "bad"), seriesV1(now, 1, "__name__", "also_good"))
	store := &brokenStore{AppenderSource: disk, appendErr: func(series string) error {
		if series == "bad" {
			return errors.New("something new")
		}
		return nil
	}}
	r := NewLocal(LocalConfig{Store: store}, nil).Write(t.Context(), b, b.valid)
	require.Equal(t, Reply{All: Accepted, Faults: []Fault{{Pos: 1, Verdict: Unavailable, Reason: ReasonStorage, Detail: "storage is unavailable"}}}, r)
	require.Len(t, disk.dump(t), 2)
}

// TestLocalPartOfABatch appends what it is asked to, and counts by position of the
// part.
func TestLocalPartOfABatch(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	now := nowMillis()
	b := batchOf(t, seriesV1(now, 1, "__name__", "a"), seriesV1(now, 1, "__name__", "b"), seriesV1(now+3600_000, 1, "__name__", "c"))
	r := NewLocal(LocalConfig{Store: store}, nil).Write(t.Context(), b, []uint32{1, 2})
	require.Len(t, r.Faults, 1)
	require.Equal(t, uint32(1), r.Faults[0].Pos)
	require.Equal(t, ReasonFuture, r.Faults[0].Reason, "the owner has its own guard")
	require.Equal(t, map[string][]storedSample{`{__name__="b"}`: {float(now, 1)}}, store.dump(t))
}

// TestClassify has every error that a TSDB refuses a sample with: none of them may
// become a retry.
func TestClassify(t *testing.T) {
	t.Parallel()
	f := func(err error, want Reason) {
		t.Helper()
		got, _ := classify(fmt.Errorf("append: %w", err))
		require.Equal(t, want, got)
	}
	f(storage.ErrOutOfOrderSample, ReasonOutOfOrder)
	f(storage.ErrTooOldSample, ReasonTooOld)
	f(storage.ErrOutOfBounds, ReasonOutOfBounds)
	f(storage.ErrDuplicateSampleForTimestamp, ReasonDuplicate)
	f(storage.NewDuplicateFloatErr(1, 2, 3), ReasonDuplicate)
	f(storage.NewDuplicateHistogramToFloatErr(1, 2), ReasonDuplicate)
	f(storage.ErrNativeHistogramsDisabled, ReasonHistogramDisabled)
	f(tsdb.ErrInvalidSample, ReasonInvalidSample)
	f(histogram.ErrHistogramCountMismatch, ReasonHistogram)
	f(histogram.InvalidSchemaError(77), ReasonHistogram)
	f(errors.New("disk on fire"), "")
	f(tsdb.ErrAppenderClosed, "")
}

func TestInternalHandlerRefusesOtherVersions(t *testing.T) {
	t.Parallel()
	h := NewInternalHandler(InternalHandlerConfig{Local: newTestOwner(), Tenant: tenantOf}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{})
	w := post(t, h, typeV1, body, headerPushVersion, "2")
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), `push version "2" is not supported, this member speaks 1; run the same version`)
	require.Equal(t, http.StatusBadRequest, post(t, h, typeV1, body).Code)
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body, headerPushVersion, "1").Code)
}

// TestInternalHandlerNotReady answers at once, in a way that opens circuits.
func TestInternalHandlerNotReady(t *testing.T) {
	t.Parallel()
	local := NewLocal(LocalConfig{Store: openStore(t), Ready: func() bool { return false }}, nil)
	h := NewInternalHandler(InternalHandlerConfig{Local: local, Tenant: tenantOf}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "x")}})
	w := post(t, h, typeV1, body, headerPushVersion, "1")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "not_ready")
}

// TestInternalHandlerNamesSeries refuses what no coordinator sends, at its position.
func TestInternalHandlerNamesSeries(t *testing.T) {
	t.Parallel()
	owner := newTestOwner()
	owner.verdict = func(series string) Verdict {
		if series == "c" {
			return Rejected
		}
		return Accepted
	}
	h := NewInternalHandler(InternalHandlerConfig{Local: owner, Tenant: tenantOf}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		seriesV1(1, 1, "__name__", "a"), seriesV1(1, 1, "b", "no name"), seriesV1(1, 1, "__name__", "c"),
	}})
	w := post(t, h, typeV1, body, headerPushVersion, "1")
	require.Equal(t, http.StatusOK, w.Code)
	r, err := decodeReply(w.Body.Bytes())
	require.NoError(t, err)
	require.Equal(t, Reply{All: Accepted, Faults: []Fault{
		{Pos: 1, Verdict: Rejected, Reason: ReasonMissingName, Detail: "no metric name"},
		{Pos: 2, Verdict: Rejected, Reason: ReasonOutOfOrder, Detail: "because c"},
	}}, r)
}
