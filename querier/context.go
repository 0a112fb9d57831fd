// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
)

// The engine opens a storage.Querier without a context and passes one only to
// Select. So what a request carries beside its PromQL travels in that context.
type (
	tenantKey  struct{}
	partialKey struct{}
)

var errNoTenant = errors.New("no tenant in the context of the query")

// WithTenant returns a context whose queries read that tenant's series.
func WithTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

// TenantFrom returns the tenant that WithTenant put into ctx, and whether there is one.
func TenantFrom(ctx context.Context) (string, bool) {
	tenant, ok := ctx.Value(tenantKey{}).(string)
	return tenant, ok && tenant != ""
}

// WithPartialResponse returns a context whose queries, when the answer is
// incomplete, get what there is with a warning (true) or an error (false).
// It overrides Config.PartialResponse.
func WithPartialResponse(ctx context.Context, allowed bool) context.Context {
	return context.WithValue(ctx, partialKey{}, allowed)
}

// partialAllowed returns what ctx says of partial responses, else byDefault.
func partialAllowed(ctx context.Context, byDefault bool) bool {
	if allowed, ok := ctx.Value(partialKey{}).(bool); ok {
		return allowed
	}
	return byDefault
}
