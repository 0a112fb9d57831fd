// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import "context"

// The engine opens a Querier without a context and hands one to Select. What one
// request asks of dedup therefore travels in that context.
type (
	enabledKey       struct{}
	replicaLabelsKey struct{}
)

// WithEnabled returns a context whose queries are deduplicated or, with false,
// answered as they are stored. Without it queries are deduplicated.
func WithEnabled(ctx context.Context, enabled bool) context.Context {
	return context.WithValue(ctx, enabledKey{}, enabled)
}

// WithReplicaLabels returns a context whose queries use these replica labels in
// place of the configured ones. The order of the names is the order of preference
// between labels. The slice must not be changed afterwards.
func WithReplicaLabels(ctx context.Context, names []string) context.Context {
	return context.WithValue(ctx, replicaLabelsKey{}, names)
}

// replicaLabels returns the labels to deduplicate by for ctx; none means: not at all.
func replicaLabels(ctx context.Context, configured []string) []string {
	if enabled, ok := ctx.Value(enabledKey{}).(bool); ok && !enabled {
		return nil
	}
	if names, ok := ctx.Value(replicaLabelsKey{}).([]string); ok {
		return names
	}
	return configured
}
