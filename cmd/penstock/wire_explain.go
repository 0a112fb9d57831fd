// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/api"
	"github.com/penstock-io/penstock/querier/dedup"
	"github.com/penstock-io/penstock/querier/limit"
)

// explainSelect says what one select of a query with explain=dedup was made of, by asking
// the cluster once more, on the account of the query.
func (s *server) explainSelect(ctx context.Context, most int, hints *storage.SelectHints, matchers ...*labels.Matcher) (api.ExplainedSelect, error) {
	e, err := dedup.Explain(querier.WithSources(ctx), limit.Queryable(s.querier), s.dedupConfig(), most, hints, matchers...)
	if err != nil {
		return api.ExplainedSelect{}, err
	}
	out := api.ExplainedSelect{Cut: e.Cut}
	for _, series := range e.Series {
		one := api.ExplainedSeries{Labels: series.Labels, Cut: series.Cut}
		for _, stretch := range series.Stretches {
			one.Stretches = append(one.Stretches, explainedStretch(stretch))
		}
		out.Series = append(out.Series, one)
	}
	return out, nil
}

func explainedStretch(s dedup.Stretch) api.ExplainedStretch {
	out := api.ExplainedStretch{
		Start: api.Timestamp(s.Start), End: api.Timestamp(s.End), Samples: s.Samples,
		Replica: s.Replica, Why: s.Why, Skew: s.Skew, Sources: []api.ExplainedSource{},
	}
	for _, source := range s.Sources {
		out.Sources = append(out.Sources, api.ExplainedSource{
			Source: source.Name, Start: api.Timestamp(source.Start), End: api.Timestamp(source.End), Samples: source.Samples,
		})
	}
	return out
}
