// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"math"
	"slices"
)

// span is a closed time range in milliseconds.
type span struct{ mint, maxt int64 }

func (s span) empty() bool { return s.mint > s.maxt }

// asker asks one member one question.
type asker[T any] func(ctx context.Context, m Member) (answer T, said said, err error)

// gathered is what the members said.
type gathered[T any] struct {
	answers []T // In the order of the members, without those missing.
	missing int // Those that count as missing, the ones that lack something included.
	// horizon is the latest local start among the members that lack nothing: what is older may be in the bucket
	// alone. With no such member that is everything.
	horizon int64
	// earliest is the first local start among all that answered: from then on their answers may have samples.
	earliest int64
	lacking  *IncompleteError // Nil if the answers are complete.
}

// outcome is how asking the i-th member went.
type outcome[T any] struct {
	i      int
	answer T
	said   said
	err    error
}

// gather asks every member that can be asked, all at once, and waits for all of them: any two members
// share some slot, so none of them can be spared. A member that fails is missing, and so is one that lacks
// something, though its answer is kept. As soon as too many are, the others are called off and the error is an
// IncompleteError, unless partial allows to go on. What the answers say of the members counts as what is known here.
func gather[T any](ctx context.Context, members func() Membership, r span, partial bool, ask asker[T]) (gathered[T], error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ms := members()
	digest := digestOf(encodeFacts(ms.facts()))
	score := newScore(ms, r)
	outcomes := make(chan outcome[T])
	asked := 0
	for i, m := range ms.Members {
		if reason := m.absent(); reason != "" {
			score.lose(i, reason)
			continue
		}
		if m.Lacks != "" {
			score.lose(i, m.Lacks)
		}
		asked++
		m.digest = digest
		go func() {
			answer, said, err := ask(ctx, m)
			outcomes <- outcome[T]{i, answer, said, err}
		}()
	}

	got := make([]*outcome[T], len(ms.Members))
	var fatal error
	for range asked { // To the last one, so that no goroutine outlives the question.
		o := <-outcomes
		switch {
		case o.err == nil:
			got[o.i] = &o
			continue
		case fatal != nil:
			continue
		case isFatal(ctx, o.err):
			fatal = o.err
		default:
			score.lose(o.i, o.err.Error())
			if !partial && !score.complete() {
				fatal = score.incomplete()
			}
		}
		if fatal != nil {
			cancel()
		}
	}
	if fatal == nil {
		score.hear(heardOf(got), members().self().lacks)
		if !partial && !score.complete() {
			fatal = score.incomplete()
		}
	}
	if fatal != nil {
		return gathered[T]{}, fatal
	}
	for _, o := range got {
		if o != nil {
			accepted(ctx, o.said.accepts)
		}
	}
	return summarise(got, score), nil
}

func heardOf[T any](got []*outcome[T]) []*said {
	heard := make([]*said, len(got))
	for i, o := range got {
		if o != nil {
			heard[i] = &o.said
		}
	}
	return heard
}

func summarise[T any](got []*outcome[T], score *score) gathered[T] {
	g := gathered[T]{horizon: math.MinInt64, earliest: math.MaxInt64}
	if passedOn := score.ms.PassedOn; passedOn > 0 {
		g.horizon = passedOn
	}
	for i, o := range got {
		if o != nil {
			g.answers = append(g.answers, o.answer)
			g.earliest = min(g.earliest, o.said.localStart)
		}
		if !score.lost[i] {
			g.horizon = max(g.horizon, o.said.localStart)
		}
	}
	for _, lost := range score.lost {
		if lost {
			g.missing++
		}
	}
	if g.missing == len(score.lost) {
		g.horizon = math.MaxInt64
	}
	if !score.complete() {
		g.lacking = score.incomplete()
	}
	return g
}

// isFatal tells what ends the query from what makes a member missing.
func isFatal(ctx context.Context, err error) bool {
	return ctx.Err() != nil || isTooLarge(err) || errors.Is(err, errNoTenant)
}

// score is who is missing, and why, in one gathering.
type score struct {
	ms      Membership
	span    span
	lost    []bool
	reasons []string
}

func newScore(ms Membership, r span) *score {
	return &score{ms: ms, span: r, lost: make([]bool, len(ms.Members)), reasons: make([]string, len(ms.Members))}
}

func (s *score) lose(i int, reason string) { s.lost[i], s.reasons[i] = true, reason }

// hear counts what the answers say; lacking is what this member itself has come to lack by now.
func (s *score) hear(heard []*said, lacking string) {
	lacks, strangers := judge(s.ms, heard)
	for i, m := range s.ms.Members {
		switch {
		case s.lost[i]:
		case lacks[i] != "":
			s.lose(i, lacks[i])
		case m.Self && lacking != "":
			s.lose(i, lacking)
		}
	}
	s.ms.Members = append(slices.Clip(s.ms.Members), strangers...)
	for range strangers {
		s.lost, s.reasons = append(s.lost, true), append(s.reasons, reasonStranger)
	}
}

func (s *score) complete() bool {
	return !s.ms.CutOff && !s.ms.Newcomer && complete(s.ms.Members, s.ms.RF, s.lost)
}

func (s *score) incomplete() *IncompleteError {
	e := &IncompleteError{Known: len(s.ms.Members), RF: s.ms.RF, CutOff: s.ms.CutOff, Newcomer: s.ms.Newcomer, Mint: s.span.mint, Maxt: s.span.maxt}
	for i, lost := range s.lost {
		if lost {
			e.Missing = append(e.Missing, Missing{Name: s.ms.Members[i].Name, Reason: s.reasons[i]})
		}
	}
	return e
}
