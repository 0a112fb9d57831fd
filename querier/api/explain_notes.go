// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

type selectNotesKey struct{}

// selectNotes are the selects of one query. Selects may run at the same time.
type selectNotes struct {
	mu      sync.Mutex
	selects []notedSelect
}

type notedSelect struct {
	text     string
	hints    storage.SelectHints
	matchers []*labels.Matcher
}

// note adds a select, once: an expression that has it twice reads it twice.
func (n *selectNotes) note(hints *storage.SelectHints, matchers []*labels.Matcher) {
	s := notedSelect{text: selectorText(matchers), hints: *hints, matchers: slices.Clone(matchers)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.ContainsFunc(n.selects, func(o notedSelect) bool {
		return o.text == s.text && o.hints.Start == s.hints.Start && o.hints.End == s.hints.End
	}) {
		n.selects = append(n.selects, s)
	}
}

func (n *selectNotes) list() []notedSelect {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.selects
}

func selectorText(matchers []*labels.Matcher) string {
	var b strings.Builder
	for i, m := range matchers {
		b.WriteString([]string{"{", ", "}[min(i, 1)])
		b.WriteString(m.String())
	}
	b.WriteByte('}')
	return b.String()
}

// notingQueryable writes down what is selected under a context with notes.
type notingQueryable struct {
	storage.SampleAndChunkQueryable
}

func (q notingQueryable) Querier(mint, maxt int64) (storage.Querier, error) {
	inner, err := q.SampleAndChunkQueryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return notingQuerier{inner, mint, maxt}, nil
}

type notingQuerier struct {
	storage.Querier
	mint, maxt int64
}

func (q notingQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if notes, ok := ctx.Value(selectNotesKey{}).(*selectNotes); ok {
		if hints == nil {
			hints = &storage.SelectHints{Start: q.mint, End: q.maxt}
		}
		notes.note(hints, ms)
	}
	return q.Querier.Select(ctx, sorted, hints, ms...)
}
