// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// classify says why an append was refused, when it was refused for what it is: the
// same append would be refused again. No reason means that the storage failed. This
// is the only place that knows the errors of a TSDB.
func classify(err error) (Reason, string) {
	if err == nil {
		return "", ""
	}
	var r *refusal
	var h histogram.Error
	var final interface{ Rejected() bool }
	switch {
	case errors.As(err, &r):
		return r.reason, r.detail
	case errors.As(err, &final) && final.Rejected():
		return ReasonLimit, err.Error()
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return ReasonDuplicate, "duplicate timestamp, different value"
	case errors.Is(err, storage.ErrTooOldSample):
		return ReasonTooOld, "too old: outside of the out-of-order window"
	case errors.Is(err, storage.ErrOutOfOrderSample):
		return ReasonOutOfOrder, "out of order"
	case errors.Is(err, storage.ErrOutOfBounds):
		return ReasonOutOfBounds, "out of bounds"
	case errors.Is(err, storage.ErrNativeHistogramsDisabled):
		return ReasonHistogramDisabled, "native histograms are disabled"
	case errors.As(err, &h):
		return ReasonHistogram, err.Error()
	case errors.Is(err, tsdb.ErrInvalidSample):
		return ReasonInvalidSample, err.Error()
	default:
		return "", ""
	}
}
