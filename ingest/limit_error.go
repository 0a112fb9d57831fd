// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"net/http"
)

// The names of the limits in the file where an operator sets them. Answers and metrics
// name a limit like that, so that whoever meets one knows what to change.
const (
	LimitBodyBytes        = "max_request_bytes"
	LimitDecodedBytes     = "max_decoded_bytes"
	LimitInflightBytes    = "max_inflight_bytes"
	LimitRate             = "ingestion_rate"
	LimitBurst            = "ingestion_burst_size"
	LimitSeries           = "max_series"
	LimitTenants          = "max_tenants"
	LimitRequestSeries    = "max_series_per_request"
	LimitRequestSamples   = "max_samples_per_request"
	LimitRequestExemplars = "max_exemplars_per_request"
	LimitLabels           = "max_label_names_per_series"
	LimitLabelName        = "max_label_name_length"
	LimitLabelValue       = "max_label_value_length"
)

// raise tells where a limit is set.
func raise(limit string) string { return "(" + limit + " in --limits.config-file)" }

// limitError refuses a request as a whole for one of its tenant's limits.
type limitError struct {
	limit  string
	status int
	// retryAfter is in seconds; 0 leaves it to the status.
	retryAfter int
	text       string
}

func (e *limitError) Error() string { return e.text + " " + raise(e.limit) }

// overLimit refuses a request that will never fit.
func overLimit(limit, what string, n, most int64) error {
	return &limitError{limit: limit, status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("%s %d exceeds limit %d", what, n, most)}
}

// limitOf is the limit for which a series is refused, or nothing.
func limitOf(r Reason) string {
	switch r {
	case ReasonLabelCount:
		return LimitLabels
	case ReasonLabelNameLength:
		return LimitLabelName
	case ReasonLabelValueLength:
		return LimitLabelValue
	case ReasonExemplarCount:
		return LimitRequestExemplars
	case ReasonLimit:
		return LimitSeries
	case ReasonTenantLimit:
		return LimitTenants
	default:
		return ""
	}
}
