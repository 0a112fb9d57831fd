// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"

	"github.com/prometheus/prometheus/util/annotations"
)

type notesKey struct{}

// WithNotes returns a context whose queries tell note of every warning of an answer in which something is lacking, and of
// the error if there is no answer. It is for those who answer in a form that has no place for either: exemplars, remote
// read. Selects of one query run at once, so note must be safe for concurrent use. It must not block.
func WithNotes(ctx context.Context, note func(error)) context.Context {
	return context.WithValue(ctx, notesKey{}, note)
}

// noteTo tells ctx's note, if there is one, how a question ended.
func noteTo(ctx context.Context, warnings annotations.Annotations, err error) {
	note, ok := ctx.Value(notesKey{}).(func(error))
	if !ok {
		return
	}
	for _, w := range warnings {
		note(w)
	}
	if err != nil {
		note(err)
	}
}
