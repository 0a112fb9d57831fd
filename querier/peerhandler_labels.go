// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

func (h *peerHandler) question(r *http.Request) (question, error) {
	if err := r.ParseForm(); err != nil {
		return question{}, badRequest(fmt.Errorf("parse form: %w", err))
	}
	q, err := parseQuestion(r.Form, h.parser)
	if err != nil {
		return question{}, badRequest(err)
	}
	return q, nil
}

// local opens the tenant's local querier over the range of the question.
func (h *peerHandler) local(w http.ResponseWriter, tenant string, q question) (storage.Querier, error) {
	querier, err := h.cfg.Local.Querier(tenant, q.mint, q.maxt)
	if err != nil {
		return nil, unavailable(err)
	}
	h.setLocalStart(w, tenant)
	return querier, nil
}

func (h *peerHandler) labels(w http.ResponseWriter, r *http.Request, tenant string) error {
	return h.strings(w, r, tenant, func(ctx context.Context, lq storage.LabelQuerier, q question, ms []*labels.Matcher) ([]string, error) {
		names, _, err := lq.LabelNames(ctx, &storage.LabelHints{Limit: q.limit}, ms...)
		return names, err
	})
}

func (h *peerHandler) values(w http.ResponseWriter, r *http.Request, tenant string) error {
	return h.strings(w, r, tenant, func(ctx context.Context, lq storage.LabelQuerier, q question, ms []*labels.Matcher) ([]string, error) {
		values, _, err := lq.LabelValues(ctx, q.label, &storage.LabelHints{Limit: q.limit}, ms...)
		return values, err
	})
}

// strings answers a question for label names or values, which has one set of matchers at most.
func (h *peerHandler) strings(
	w http.ResponseWriter, r *http.Request, tenant string,
	read func(context.Context, storage.LabelQuerier, question, []*labels.Matcher) ([]string, error),
) error {
	q, err := h.question(r)
	if err != nil {
		return err
	}
	querier, err := h.local(w, tenant, q)
	if err != nil {
		return err
	}
	defer querier.Close() // Reading is over; there is nothing to lose.
	var matchers []*labels.Matcher
	if len(q.matchers) > 0 {
		matchers = q.matchers[0]
	}
	found, err := read(r.Context(), querier, q, matchers)
	if err != nil {
		return err
	}
	return writeReply(h, w, found)
}

// series answers with label sets, without touching a chunk.
func (h *peerHandler) series(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := h.question(r)
	if err != nil {
		return err
	}
	if len(q.matchers) != 1 {
		return badRequest(fmt.Errorf("%d selectors, not 1", len(q.matchers)))
	}
	querier, err := h.local(w, tenant, q)
	if err != nil {
		return err
	}
	defer querier.Close() // Reading is over; there is nothing to lose.
	hints := &storage.SelectHints{Start: q.mint, End: q.maxt, Func: funcSeries, Limit: q.limit}
	found, err := readLabelSets(querier.Select(r.Context(), true, hints, q.matchers[0]...), q.limit)
	if err != nil {
		return err
	}
	return writeReply(h, w, found)
}

func (h *peerHandler) exemplars(w http.ResponseWriter, r *http.Request, tenant string) error {
	q, err := h.question(r)
	if err != nil {
		return err
	}
	querier, err := h.cfg.Local.ExemplarQuerier(r.Context(), tenant)
	if err != nil {
		return unavailable(err)
	}
	h.setLocalStart(w, tenant)
	found, err := querier.Select(q.mint, q.maxt, q.matchers...)
	if err != nil {
		return err
	}
	return writeReply(h, w, toWire(found))
}
