// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"errors"
	"fmt"
)

// Outcomes of a unit.
const (
	outcomeDone  = "done"
	outcomeEmpty = "empty"
	outcomeShort = "short"
)

// failure says which step of a pass went wrong.
type failure struct {
	step string
	err  error
}

func (f *failure) Error() string { return f.step + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// tooManyError is a pass with more series than it may hold.
type tooManyError struct{ limit int }

func (e *tooManyError) Error() string { return fmt.Sprintf("more than %d series in one pass", e.limit) }
func (*tooManyError) TooLarge() bool  { return true }

func isTooLarge(err error) bool {
	var e interface {
		error
		TooLarge() bool
	}
	return errors.As(err, &e) && e.TooLarge()
}

// passed is what one pass brought.
type passed struct {
	digest  Digest
	bytes   int64
	blocks  int
	lacking []string
}

// refillUnit does what is left of a unit, in as many passes as the number of series asks for.
func (r *Refiller) refillUnit(ctx context.Context, u unit) error {
	parts := max(1, r.parts[u.tenant])
	for _, d := range r.progress.records {
		if d.covers(u.tenant, u.mint, u.maxt, u.losses[0]) {
			parts = max(parts, d.Parts) // Finer parts than those before could not be told apart.
		}
	}
	total := passed{}
	for part := 0; part < parts; {
		if partDone(r.progress.records, u, part, parts) {
			part++
			continue
		}
		r.board.working(u, part, parts)
		got, err := r.pass(ctx, u, part, parts)
		if isTooLarge(err) && 2*parts <= maxParts {
			parts *= 2
			r.parts[u.tenant] = parts
			part = 0
			r.logger.Debug("reading in smaller parts", "tenant", u.tenant, "parts", parts, "err", err)
			continue
		}
		if err == nil {
			err = r.progressAdd(u, part, parts)
		}
		if err != nil {
			r.countFailure(ctx, err)
			return err
		}
		r.account(u, got)
		total.blocks += got.blocks
		if len(got.lacking) > 0 {
			total.lacking = got.lacking
		}
		part++
	}
	r.conclude(u, total)
	return nil
}

func (r *Refiller) progressAdd(u unit, part, parts int) error {
	err := r.progress.add(done{Tenant: u.tenant, MinTime: u.mint, MaxTime: u.maxt, Part: part, Parts: parts, Losses: u.losses})
	if err != nil {
		return &failure{failProgress, err}
	}
	return nil
}

func (r *Refiller) countFailure(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // Stopped, not failed.
	}
	r.metrics.failures.WithLabelValues(stepOf(err)).Inc()
}

// stepOf is the step that an error is about.
func stepOf(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return f.step
	}
	return failRead
}

func (r *Refiller) account(u unit, got passed) {
	r.metrics.series.Add(float64(got.digest.Series))
	r.metrics.samples.Add(float64(got.digest.Samples))
	r.metrics.bytes.Add(float64(got.bytes))
	r.metrics.blocks.Add(float64(got.blocks))
	r.board.account(u.tenant, got)
}

func (r *Refiller) conclude(u unit, total passed) {
	outcome := outcomeDone
	switch {
	case len(total.lacking) > 0:
		outcome = outcomeShort
		r.board.short()
		r.logger.Warn("other members have lost data too: a range holds all that there is, which may not be all that there was",
			"tenant", u.tenant, "from", stamp(u.mint), "to", stamp(u.maxt), "members", total.lacking)
	case total.blocks == 0:
		outcome = outcomeEmpty
	}
	r.metrics.ranges.WithLabelValues(outcome).Inc()
}

// pass reads one part of a unit, makes a block of it, verifies and adds it. After an
// error nothing of it is left.
func (r *Refiller) pass(ctx context.Context, u unit, part, parts int) (_ passed, err error) {
	if err := r.admit(ctx); err != nil {
		return passed{}, err
	}
	w, err := newBlockWriter(r.cfg.Store.RefillDir(), r.cfg.Now())
	if err != nil {
		return passed{}, &failure{failWrite, err}
	}
	defer func() {
		if discardErr := w.discard(); discardErr != nil {
			r.logger.Warn("cannot remove scratch of refill", "dir", w.dir, "err", discardErr)
		}
	}()
	got := passed{}
	q := Query{Tenant: u.tenant, MinTime: u.mint, MaxTime: u.maxt, Part: part, Parts: parts}
	if got.lacking, err = r.read(ctx, q, w); err != nil {
		return passed{}, err
	}
	if len(w.series) == 0 {
		return got, nil
	}
	if err := w.finish(ctx, r.logger); err != nil {
		return passed{}, &failure{failWrite, err}
	}
	back, err := digestOf(ctx, w.dir, r.logger)
	if err != nil {
		return passed{}, &failure{failVerify, err}
	}
	if back != w.digest.Digest {
		return passed{}, &failure{failVerify, fmt.Errorf("the block reads %s, what was read from the members was %s", back, w.digest.Digest)}
	}
	if err := r.addBlock(ctx, u.tenant, w.dir); err != nil {
		return passed{}, &failure{failAdd, err}
	}
	got.digest, got.bytes, got.blocks = back, w.bytes, 1
	r.logger.Debug("added a block", "tenant", u.tenant, "block", w.meta.ULID, "part", part, "parts", parts, "digest", back.String())
	return got, nil
}

func (r *Refiller) addBlock(ctx context.Context, tenant, dir string) (err error) {
	for range addAttempts {
		if err = r.cfg.Store.AddBlock(ctx, tenant, dir); err == nil || ctx.Err() != nil {
			return err
		}
		wait(ctx, r.cfg.Poll)
	}
	return err
}

// read puts what this member owns of an answer into a block.
func (r *Refiller) read(ctx context.Context, q Query, w *blockWriter) (lacking []string, err error) {
	reading, err := r.cfg.Source.Read(ctx, q)
	if err != nil {
		return nil, &failure{failRead, err}
	}
	defer func() {
		if closeErr := reading.Close(); closeErr != nil && err == nil {
			err = &failure{failRead, closeErr}
		}
	}()
	owns := r.cfg.Owns(q.Tenant, q.MinTime, q.MaxTime)
	for reading.Set.Next() {
		s := reading.Set.At()
		lset := s.Labels()
		if !owns(lset) {
			continue
		}
		if len(w.series) >= r.cfg.MaxSeriesPerPass {
			return nil, &tooManyError{r.cfg.MaxSeriesPerPass}
		}
		n, err := w.add(lset, s.Iterator(nil), q.MinTime, q.MaxTime)
		if err != nil {
			return nil, &failure{failWrite, err}
		}
		r.pacer.spend(ctx, n)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if err := reading.Set.Err(); err != nil {
		return nil, &failure{failRead, err}
	}
	return reading.Lacking, nil
}

// admit waits while the node has no room for background work.
func (r *Refiller) admit(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := r.cfg.Admit()
		if err == nil {
			return nil
		}
		r.board.fail(fmt.Errorf("waiting for room on this node: %w", err))
		wait(ctx, r.cfg.Poll)
	}
}
