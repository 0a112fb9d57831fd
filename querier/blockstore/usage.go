// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"sync/atomic"
)

// requestsPerQuery bounds the requests of one query, so that one that reads many blocks leaves others a share.
const requestsPerQuery = 16

// kind is what pages are wanted for.
type kind string

const (
	kindHeader   kind = "header" // Symbols and offset tables.
	kindPostings kind = "postings"
	kindSeries   kind = "series"
	kindChunks   kind = "chunks"
)

// budget is what one query may use, shared by all that it does.
type budget struct {
	limit int64         // Bytes; 0 is none.
	slots chan struct{} // One for each request under way.

	used     atomic.Int64
	requests atomic.Int64

	spent func(bytes, requests int64) error // Is told as well. Nil: nobody is.
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, slots: make(chan struct{}, requestsPerQuery)}
}

type budgetKey struct{}

// WithBudget returns a context for one query: all that is asked of s with it, of any number of queriers, shares
// Config.MaxQueryBytes. Without it each querier has that for itself.
func (s *Store) WithBudget(ctx context.Context) context.Context {
	return context.WithValue(ctx, budgetKey{}, newBudget(s.cfg.MaxQueryBytes))
}

// WithSpending is WithBudget for a query of which somebody else keeps an account too: spent is told of bytes before they are read,
// and of requests before they are made. Its error ends the query. It is called from several goroutines.
func (s *Store) WithSpending(ctx context.Context, spent func(bytes, requests int64) error) context.Context {
	b := newBudget(s.cfg.MaxQueryBytes)
	b.spent = spent
	return context.WithValue(ctx, budgetKey{}, b)
}

// budgetFor returns the budget of a question.
func (q *questions) budgetFor(ctx context.Context) *budget {
	if b, ok := ctx.Value(budgetKey{}).(*budget); ok {
		return b
	}
	return q.budget
}

// usage is a budget that is used for one kind of pages.
type usage struct {
	*budget
	kind kind
}

// spend counts what is about to be read, cached or not: whether a query is refused must not depend on who asked before.
func (u *usage) spend(bytes int64) error {
	if u.limit > 0 && u.used.Add(bytes) > u.limit {
		return &LimitError{Limit: u.limit}
	}
	return u.tell(bytes, 0)
}

func (b *budget) tell(bytes, requests int64) error {
	if b.spent == nil {
		return nil
	}
	return b.spent(bytes, requests)
}

// begin waits for leave to make a request.
func (u *usage) begin(ctx context.Context, all chan struct{}) error {
	if err := u.tell(0, 1); err != nil {
		return err
	}
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case all <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-u.slots
		return ctx.Err()
	}
}

func (u *usage) end(all chan struct{}) {
	<-all
	<-u.slots
}

// LimitError says that a query reads more from the bucket than it may.
type LimitError struct {
	Limit int64 // Bytes.
}

// TooLarge tells whoever asks that less would have an answer.
func (*LimitError) TooLarge() bool { return true }

func (e *LimitError) Error() string {
	return fmt.Sprintf("the query reads more than %d bytes of blocks in the bucket: "+
		"ask for fewer series or a shorter time range, or raise --%s", e.Limit, FlagMaxQueryBytes)
}
