// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Refiller gives the local store back what it lost. Run does the work; the other
// methods are safe for concurrent use.
type Refiller struct {
	cfg      Config
	logger   *slog.Logger
	metrics  *metrics
	progress *progress
	pacer    *pacer
	// parts is in how many passes the units of a tenant are read; it only grows.
	parts map[string]int
	board board
}

// New returns a Refiller. It starts nothing. A nil reg registers nothing.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Refiller, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p, damaged := loadProgress(cfg.File)
	if damaged != nil {
		logger.Warn("refill progress cannot be read, starting over", "err", damaged)
	}
	return &Refiller{
		cfg: cfg, logger: logger, metrics: newMetrics(reg), progress: p,
		pacer: &pacer{rate: cfg.BytesPerSecond}, parts: map[string]int{},
		board: board{now: cfg.Now},
	}, nil
}

// Run looks for losses and refills them until ctx ends. It returns nil then: nothing
// that goes wrong here is a reason to stop the node.
func (r *Refiller) Run(ctx context.Context) error {
	delay := backoffFirst
	for ctx.Err() == nil {
		losses := r.cfg.Store.Losses()
		r.metrics.losses.Set(float64(len(losses)))
		r.board.setLosses(losses)
		if len(losses) == 0 {
			r.board.idle()
			delay = backoffFirst
			wait(ctx, r.cfg.Poll)
			continue
		}
		before := r.board.unitsDone()
		err := r.round(ctx, losses)
		if err == nil || r.board.unitsDone() > before {
			delay = backoffFirst
		}
		if err != nil && ctx.Err() == nil {
			r.logger.Warn("refill has to wait, trying again", "delay", delay, "err", err)
			r.board.fail(err)
			wait(ctx, delay)
			delay = min(2*delay, backoffLast)
		}
	}
	return nil
}

// round refills losses and resolves them. An error leaves them, with what was done kept.
func (r *Refiller) round(ctx context.Context, losses []Loss) error {
	r.board.state(stateWaiting)
	began, tenants, err := r.settle(ctx)
	if errors.Is(err, ErrNoCopies) {
		return r.giveUp(losses)
	}
	if err != nil {
		r.metrics.failures.WithLabelValues(failPeers).Inc()
		return err
	}
	if err := r.progress.prune(losses); err != nil {
		r.metrics.failures.WithLabelValues(failProgress).Inc()
		return err
	}
	from, to := r.reach()
	plan := planUnits(losses, tenants, r.progress.records, from, to, r.cfg.BlockDuration.Milliseconds())
	r.board.begin(len(plan))
	r.metrics.remaining.Set(float64(len(plan)))
	r.logger.Info("refilling from the other members", "losses", len(losses), "reasons", reasons(losses),
		"ranges", len(plan), "tenants", len(tenants))
	if err := r.refillAll(ctx, plan); err != nil {
		return err
	}
	r.awaitHints(ctx, began)
	return r.resolve(ctx, losses)
}

// refillAll does the units of a plan. A tenant that does not go on, such as one that is over the limit
// of tenants here, is left for the next round and does not hold up the others. Members
// that do not answer end the round.
func (r *Refiller) refillAll(ctx context.Context, plan []unit) error {
	left := unitsOf(plan)
	stuck := map[string]error{}
	remaining := len(plan)
	for _, u := range plan {
		if stuck[u.tenant] != nil {
			continue
		}
		if err := r.refillUnit(ctx, u); err != nil {
			err = fmt.Errorf("refill tenant %q from %s to %s: %w", u.tenant, stamp(u.mint), stamp(u.maxt), err)
			if ctx.Err() != nil || stepOf(err) == failRead && !isTooLarge(err) {
				return err
			}
			stuck[u.tenant] = err
			continue
		}
		remaining--
		r.metrics.remaining.Set(float64(remaining))
		r.board.unitDone()
		if left[u.tenant]--; left[u.tenant] == 0 {
			f := r.board.tenantFigures(u.tenant)
			r.logger.Info("tenant refilled", "tenant", u.tenant, "blocks", f.Blocks, "samples", f.Samples, "bytes", f.Bytes)
		}
	}
	return errors.Join(slices.Collect(maps.Values(stuck))...)
}

// settle is the begin of a round: every other member routes its writes here, and those that
// began before have ended. It returns since when, and the tenants known after.
func (r *Refiller) settle(ctx context.Context) (began time.Time, tenants []string, err error) {
	survey, err := r.cfg.Source.Survey(ctx)
	if err != nil {
		return began, nil, err
	}
	if len(survey.NotRouting) > 0 {
		return began, nil, fmt.Errorf("members that do not write to this one yet: %s", strings.Join(survey.NotRouting, ", "))
	}
	began = r.cfg.Now()
	r.board.state(stateSettling)
	wait(ctx, r.cfg.Settle)
	if err := ctx.Err(); err != nil {
		return began, nil, err
	}
	survey, err = r.cfg.Source.Survey(ctx)
	return began, survey.Tenants, err
}

// awaitHints waits until no hint for this member is older than the round, if that is
// soon enough. Not knowing is waiting too.
func (r *Refiller) awaitHints(ctx context.Context, began time.Time) {
	r.board.state(stateHints)
	for deadline := r.cfg.Now().Add(r.cfg.HintWait); ctx.Err() == nil; wait(ctx, r.cfg.Poll) {
		survey, err := r.cfg.Source.Survey(ctx)
		if err == nil && survey.OldestHint <= r.cfg.Now().Sub(began) {
			return
		}
		if r.cfg.Now().After(deadline) {
			r.logger.Warn("hints for this member are still waiting; they follow later", "oldest", survey.OldestHint, "err", err)
			return
		}
	}
}

func (r *Refiller) resolve(ctx context.Context, losses []Loss) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, l := range losses {
		if err := r.cfg.Store.ResolveLoss(l.ID); err != nil {
			r.metrics.failures.WithLabelValues(failProgress).Inc()
			return fmt.Errorf("resolve loss %s: %w", l.ID, err)
		}
	}
	f := r.board.finish()
	r.logger.Info("refilled: this member has everything again", "losses", len(losses), "blocks", f.Blocks,
		"samples", f.Samples, "bytes", f.Bytes, "short_ranges", f.Short, "seconds", f.Seconds)
	// What the file still says is void, and the next round drops it.
	return nil
}

// giveUp lets go of losses that nobody can make good.
func (r *Refiller) giveUp(losses []Loss) error {
	for _, l := range losses {
		r.logger.Error("what was lost cannot be given back: no other member has a copy", "tenant", l.Tenant,
			"from", stamp(l.MinTime), "to", stamp(l.MaxTime), "reason", l.Reason)
		if err := r.cfg.Store.ResolveLoss(l.ID); err != nil {
			return fmt.Errorf("resolve loss %s: %w", l.ID, err)
		}
		r.metrics.givenUp.Inc()
	}
	return nil
}

// reach is between which times samples can be here: older blocks are not kept, and
// newer samples are refused.
func (r *Refiller) reach() (from, to int64) {
	now := r.cfg.Now()
	return now.Add(-r.cfg.Retention).UnixMilli(), now.Add(futureMax).UnixMilli()
}

func unitsOf(plan []unit) map[string]int {
	n := map[string]int{}
	for _, u := range plan {
		n[u.tenant]++
	}
	return n
}

func reasons(losses []Loss) string {
	var list []string
	seen := map[string]bool{}
	for _, l := range losses {
		if !seen[l.Reason] {
			seen[l.Reason] = true
			list = append(list, l.Reason)
		}
	}
	const shown = 5
	if len(list) > shown {
		list = append(list[:shown], "...")
	}
	return strings.Join(list, "; ")
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// wait sleeps, or less if ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
