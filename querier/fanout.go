// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/util/annotations"
)

// bucketAsker asks the bucket for a part of the range. Its answer is joined to those of members, which may have samples from
// earliest on, and now and then before.
type bucketAsker[T any] func(ctx context.Context, part span, earliest int64) (T, error)

// collect asks the members and then, where that is needed, the bucket. The answers are in the order of the members,
// the bucket's last.
func collect[T any](ctx context.Context, q *Querier, r span, ask asker[T], bucket bucketAsker[T]) (answers []T, warnings annotations.Annotations, err error) {
	missing := 0
	defer func() {
		q.metrics.fanouts.WithLabelValues(resultOf(missing, warnings, err)).Inc()
		noteTo(ctx, warnings, err)
	}()

	partial := partialAllowed(ctx, q.cfg.PartialResponse)
	g, err := gather(ctx, q.cfg.Members, r, partial, ask)
	if err != nil {
		return nil, nil, err
	}
	missing = g.missing
	if g.lacking != nil {
		warnings.Add(g.lacking.warning())
	}
	part, needed := bucketPart(r, g.horizon, missing > 0)
	if bucket == nil || part.empty() {
		return g.answers, warnings, nil
	}
	q.metrics.bucketRequests.WithLabelValues(bucketReason(needed)).Inc()
	answer, err := bucket(ctx, part, g.earliest)
	switch {
	case err == nil:
		return append(g.answers, answer), warnings, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case !needed: // It could only have added to what is complete already.
		return g.answers, warnings, nil
	case isTooLarge(err): // The bucket is well, and a part of an answer is not what a limit is for.
		return nil, nil, err
	}
	lacking := &bucketError{err: err, mint: part.mint, maxt: part.maxt}
	if !partial {
		return nil, nil, lacking
	}
	warnings.Add(lacking.warning())
	return g.answers, warnings, nil
}

// bucketPart returns for which part of r the bucket is asked (none if it is empty), and whether
// the answer depends on it. What is older than the horizon may be in no member's TSDB any more. While a member is
// missing the bucket is asked for all of r, because it may have what only that member had; then what is younger
// than the horizon is an extra.
func bucketPart(r span, horizon int64, someMissing bool) (part span, needed bool) {
	needed = r.mint < horizon
	switch {
	case someMissing:
		return r, needed
	case needed:
		return span{mint: r.mint, maxt: min(r.maxt, horizon-1)}, true
	default:
		return span{mint: 1, maxt: 0}, false
	}
}

func bucketReason(needed bool) string {
	if needed {
		return "old"
	}
	return "missing"
}

func resultOf(missing int, warnings annotations.Annotations, err error) string {
	var incomplete *IncompleteError
	switch {
	case errors.As(err, &incomplete):
		return resultIncomplete
	case err != nil:
		return resultError
	case len(warnings) > 0:
		return resultPartial
	case missing > 0:
		return resultDegraded
	default:
		return resultComplete
	}
}
