// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import "fmt"

// unavailableError is the part of an error that may be told to anyone; what is wrapped
// around it or in it can name files of this node.
type unavailableError string

func (e unavailableError) Error() string { return string(e) }

// Unavailable says why a write cannot be taken now.
func (e unavailableError) Unavailable() string { return string(e) }

// Errors of a Store that mean "unavailable": the same request may succeed later.
var (
	// ErrNotReady is returned until Replay has opened every tenant.
	ErrNotReady error = unavailableError("storage is replaying its write-ahead logs")
	// ErrReopening is returned while a TSDB whose write log failed is being
	// reopened. What it acknowledged before is safe; nothing is until it is back.
	ErrReopening error = unavailableError("storage is reopening after a failed write")
	// ErrFlushing is returned while the head of a tenant is being cut.
	ErrFlushing error = unavailableError("storage is cutting its head into blocks")
	// ErrDiskLow is returned while the file system has less free space than
	// the low-water mark.
	ErrDiskLow error = unavailableError("storage is low on disk space")
	// ErrClosed is returned after Close.
	ErrClosed error = unavailableError("storage is closed")
)

// TenantLimitError refuses a new tenant on a node that has its full number.
type TenantLimitError struct {
	Tenant string
	Limit  int
}

func (e *TenantLimitError) Error() string {
	return fmt.Sprintf("tenant %q refused: this node already has its limit of %d tenants (node.max_tenants in --limits.config-file)", e.Tenant, e.Limit)
}

// Rejected tells that a retry cannot change the answer.
func (*TenantLimitError) Rejected() bool { return true }

// SeriesLimitError refuses a new series. Those that exist take samples as before.
type SeriesLimitError struct {
	// Tenant has its full number of series; empty: the node has.
	Tenant string
	Limit  int
}

func (e *SeriesLimitError) Error() string {
	if e.Tenant == "" {
		return fmt.Sprintf("active series limit %d of this node reached; existing series are not affected (node.max_series in --limits.config-file)", e.Limit)
	}
	return fmt.Sprintf("active series limit %d of tenant %q on this node reached; existing series are not affected (max_series in --limits.config-file)", e.Limit, e.Tenant)
}

// Rejected tells that a retry cannot change the answer.
func (*SeriesLimitError) Rejected() bool { return true }

// InvalidTenantError refuses a name that is not [A-Za-z0-9_-]{1,64}.
type InvalidTenantError struct {
	Tenant string
}

func (e *InvalidTenantError) Error() string {
	return fmt.Sprintf("invalid tenant %.80q: want 1 to %d characters of A-Z, a-z, 0-9, '_' and '-'", e.Tenant, tenantNameLenMax)
}

// Rejected tells that a retry cannot change the answer.
func (*InvalidTenantError) Rejected() bool { return true }

// tenantNameLenMax keeps a tenant's name well inside a file name.
const tenantNameLenMax = 64

// validTenant is checked here again although callers do, because the name
// becomes a path.
func validTenant(name string) bool {
	if len(name) == 0 || len(name) > tenantNameLenMax {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
