// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"math"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
)

// A TSDB refuses an exemplar that it has already, unless it is the newest of its
// series or older than some other by less than the out-of-order window. A request that
// is delivered again would seem to have lost it. So what was refused is in doubt until
// the exemplars of the TSDB have been looked at, which costs as much as a query and
// happens only then.

// storedKey tells exemplars of a TSDB apart. Hashes will do: a collision lets one
// exemplar of a sender count as written that was not.
type storedKey struct {
	series, labels uint64
	t              int64
	value          uint64
}

func keyOf(series uint64, e exemplar.Exemplar) storedKey {
	return storedKey{series: series, labels: e.Labels.Hash(), t: e.Ts, value: math.Float64bits(e.Value)}
}

// settleDoubts drops the exemplars in doubt that are not stored. A TSDB tells how many
// of a series it has refused and not which, so that some that it took are among them.
func (l *Local) settleDoubts(ctx context.Context, tx *transaction) {
	if len(tx.doubtful) == 0 {
		return
	}
	stored := l.storedExemplars(ctx, tx)
	for _, e := range tx.doubtful {
		if _, ok := stored[keyOf(tx.labels(e.pos).Hash(), e.ex)]; !ok {
			tx.dropExemplar(e)
		}
	}
}

// storedExemplars returns what the storage has in the time of the exemplars in doubt;
// nothing if it does not tell.
func (l *Local) storedExemplars(ctx context.Context, tx *transaction) map[storedKey]struct{} {
	source, ok := l.cfg.Store.(ExemplarSource)
	if !ok {
		return nil
	}
	q, err := source.ExemplarQuerier(ctx, tx.batch.Tenant)
	if err != nil {
		return nil
	}
	mint, maxt := int64(math.MaxInt64), int64(math.MinInt64)
	for _, e := range tx.doubtful {
		mint, maxt = min(mint, e.ex.Ts), max(maxt, e.ex.Ts)
	}
	// One walk over all series, which are as many as there are exemplars at the most:
	// a walk for each series in doubt would be slower when all of a request is.
	all := []*labels.Matcher{labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "")}
	results, err := q.Select(mint, maxt, all)
	if err != nil {
		return nil
	}
	stored := map[storedKey]struct{}{}
	for _, r := range results {
		series := r.SeriesLabels.Hash()
		for _, e := range r.Exemplars {
			stored[keyOf(series, e)] = struct{}{}
		}
	}
	return stored
}
