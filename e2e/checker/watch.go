// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// maxAsked bounds the log of questions.
const maxAsked = 1_000_000

// Asked is one question of a watch.
type Asked struct {
	At     time.Time
	Took   time.Duration
	Target string
	// Incomplete: the answer says that something is missing. Err: there is no answer, or it is none of success.
	Incomplete bool
	Err        error
	Findings   Findings // of an answer that claims to be complete
}

// Failed tells whether the one who asked did not get a complete answer.
func (a Asked) Failed() bool { return a.Incomplete || a.Err != nil }

// Watch asks targets all the time. An answer that claims to be complete has to have everything that was acknowledged
// before the question, whatever happens meanwhile.
type Watch struct {
	Loads []*Load
	// Ticks is how many of the newest ticks a question is about.
	Ticks int
	// Pause is between two questions to one target.
	Pause time.Duration
	// Timeout bounds one question.
	Timeout time.Duration

	mtx sync.Mutex
	all []Asked
}

// Run asks one target until ctx ends. Several targets are asked side by side, so that one that hangs holds up none.
func (w *Watch) Run(ctx context.Context, target Target, seed uint64) {
	reader := NewReader(w.Timeout)
	rng := rand.New(rand.NewPCG(seed, 0))
	for sleep(ctx, w.Pause) {
		load := w.Loads[rng.IntN(len(w.Loads))]
		asked, ok := w.ask(ctx, reader, load, target, rng)
		if !ok || ctx.Err() != nil {
			continue
		}
		w.mtx.Lock()
		if len(w.all) < maxAsked {
			w.all = append(w.all, asked)
		}
		w.mtx.Unlock()
	}
}

// ask asks for the newest ticks of a shard, or for as many at a time in the past. It returns false when there is
// nothing to ask for yet.
func (w *Watch) ask(ctx context.Context, r *Reader, l *Load, target Target, rng *rand.Rand) (Asked, bool) {
	to := l.Record.Ticks()
	if to == 0 {
		return Asked{}, false
	}
	if rng.IntN(2) == 0 {
		to = 1 + rng.IntN(to)
	}
	from := max(0, to-w.Ticks)
	win := Window{Shard: rng.IntN(l.Plan.Shards), From: from, To: to}
	win.Before = l.Record.Shard(win.Shard, from, to)
	a := Asked{At: time.Now(), Target: target.Name}
	answer, err := r.Read(ctx, target, l.Plan, win.Shard, from, to, rng.IntN(2) == 0)
	a.Took = time.Since(a.At)
	switch {
	case errors.Is(err, ErrIncomplete):
		a.Incomplete = true
	case err != nil:
		a.Err = err
	default:
		win.After = l.Record.Shard(win.Shard, from, to)
		a.Findings = l.Plan.Compare(win, answer)
	}
	return a, true
}

// Between are the questions that were asked in [from, to).
func (w *Watch) Between(from, to time.Time) []Asked {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	var out []Asked
	for _, a := range w.all {
		if !a.At.Before(from) && a.At.Before(to) {
			out = append(out, a)
		}
	}
	return out
}
