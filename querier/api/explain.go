// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// A query with explain=dedup is answered as ever, and its data has one more field: for each select of the query, which
// replica and which source each stretch of each series came from.
//
//	request ── explain=dedup? ── no ──► as all others
//	              │ yes
//	              ▼
//	   Prometheus' handlers, over ExplainConfig.Engine and a queryable that notes the selects
//	              │ good answer
//	              ▼
//	   ExplainConfig.Select for each select ──► data.explain

const (
	paramExplain      = "explain"
	paramExplainLimit = "explain_limit"
	explainDedup      = "dedup"

	explainSeries    = 100  // Series that are explained, of all selects together.
	explainSeriesMax = 2000 // That can be asked for.
	// explainTimeout is for the explanation alone, which comes after the query and has no other bound of time.
	explainTimeout = time.Minute
)

// ExplainConfig is what queries with explain=dedup are answered from.
type ExplainConfig struct {
	// Engine evaluates the query: one that has no answers kept from before. Nil is Config.Engine.
	Engine promql.QueryEngine
	// Select returns what Config.Queryable would make the first limit series of a select from. The hints are those that the
	// engine gave, with the range in it.
	Select func(ctx context.Context, limit int, hints *storage.SelectHints, matchers ...*labels.Matcher) (ExplainedSelect, error)
}

// ExplainedSelect is what one select of a query was made of.
type ExplainedSelect struct {
	Selector string            `json:"selector"`
	Start    Timestamp         `json:"start"` // Of what the engine reads, both ends included.
	End      Timestamp         `json:"end"`
	Series   []ExplainedSeries `json:"series"`
	Cut      bool              `json:"cut"` // There are more series.
}

// ExplainedSeries is one series and the stretches that it was put together from.
type ExplainedSeries struct {
	Labels    labels.Labels      `json:"labels"`
	Stretches []ExplainedStretch `json:"stretches"`
	Cut       bool               `json:"cut"` // There are more stretches.
}

// ExplainedStretch is a part of a series that one replica gave.
type ExplainedStretch struct {
	Start   Timestamp         `json:"start"`
	End     Timestamp         `json:"end"`
	Samples int               `json:"samples"`
	Replica labels.Labels     `json:"replica"`
	Why     string            `json:"why"`
	Skew    int               `json:"skewSkipped,omitempty"` // Samples before the first that would have looked like a counter reset.
	Sources []ExplainedSource `json:"sources"`
}

// ExplainedSource is a place that has samples of a stretch.
type ExplainedSource struct {
	Source  string    `json:"source"`
	Start   Timestamp `json:"start"`
	End     Timestamp `json:"end"`
	Samples int       `json:"samples"`
}

// Timestamp is a time in ms that is written in seconds, like all of Prometheus' API.
type Timestamp int64

// MarshalJSON implements json.Marshaler.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(t)/1000, 'f', -1, 64), nil
}

// explain stands before the handlers of query and query_range.
func (h *handlers) explain(plain, explained http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions || r.FormValue(paramExplain) == "" {
			plain.ServeHTTP(w, r)
			return
		}
		explained.ServeHTTP(w, r)
	})
}

// newExplain answers requests that are to be explained.
func (h *handlers) newExplain(cfg Config) http.Handler {
	if cfg.Explain.Engine != nil {
		cfg.Engine = cfg.Explain.Engine
	}
	cfg.Queryable = notingQueryable{cfg.Queryable}
	router := route.New()
	// Its metrics are about remote reads, which it serves none of.
	newPrometheusAPI(cfg, h.logger, prometheus.NewRegistry()).Register(router)
	noting := http.StripPrefix(prefix, router)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit, err := explainLimit(r)
		if err != nil {
			h.respondError(w, r, badData(err))
			return
		}
		h.serveExplained(w, r, noting, limit)
	})
}

// explainLimit returns how many series are to be explained.
func explainLimit(r *http.Request) (int, error) {
	if what := r.FormValue(paramExplain); what != explainDedup {
		return 0, fmt.Errorf("invalid parameter %q: %.80q is not %q", paramExplain, what, explainDedup)
	}
	v := r.FormValue(paramExplainLimit)
	if v == "" {
		return explainSeries, nil
	}
	limit, err := strconv.Atoi(v)
	if err != nil || limit < 1 || limit > explainSeriesMax {
		return 0, fmt.Errorf("invalid parameter %q: %.80q is not a number from 1 to %d", paramExplainLimit, v, explainSeriesMax)
	}
	return limit, nil
}

func (h *handlers) serveExplained(w http.ResponseWriter, r *http.Request, noting http.Handler, limit int) {
	notes := &selectNotes{}
	inner := r.Clone(context.WithValue(r.Context(), selectNotesKey{}, notes))
	inner.Header.Del("Accept-Encoding")
	answer := &heldAnswer{ResponseWriter: w, status: http.StatusOK}
	noting.ServeHTTP(answer, inner)
	body := answer.body.Bytes()
	if answer.status == http.StatusOK {
		explained, err := h.explainSelects(r.Context(), notes.list(), limit)
		if err == nil {
			body, err = withExplanation(body, explained)
		}
		if err != nil {
			h.respondError(w, r, explainError(err))
			return
		}
	}
	w.WriteHeader(answer.status)
	if _, err := w.Write(body); err != nil {
		h.logger.Debug("answer not delivered", "path", r.URL.Path, "err", err)
	}
}

// explainSelects shares the limit among the selects, in their order.
func (h *handlers) explainSelects(ctx context.Context, selects []notedSelect, limit int) ([]ExplainedSelect, error) {
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	all := []ExplainedSelect{}
	for _, s := range selects {
		one := ExplainedSelect{Cut: true}
		if limit > 0 {
			var err error
			if one, err = h.cfg.Explain.Select(ctx, limit, &s.hints, s.matchers...); err != nil {
				return nil, err
			}
		}
		one.Selector, one.Start, one.End = s.text, Timestamp(s.hints.Start), Timestamp(s.hints.End)
		if one.Series == nil {
			one.Series = []ExplainedSeries{}
		}
		limit -= len(one.Series)
		all = append(all, one)
	}
	return all, nil
}

func explainError(err error) *apiError {
	if status, ok := errorCode(0, err); ok {
		return &apiError{status, "unavailable", err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &apiError{http.StatusServiceUnavailable, "timeout", errors.New("the query was answered, but explaining it took longer than " + explainTimeout.String() + ": ask for a shorter range or fewer series")}
	}
	return &apiError{http.StatusUnprocessableEntity, "execution", err}
}

// withExplanation adds the field to the data of an answer, which is passed on as it is otherwise.
func withExplanation(body []byte, explained []ExplainedSelect) ([]byte, error) {
	var answer, data map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer["data"], &data); err != nil {
		return nil, err
	}
	var err error
	if data[paramExplain], err = json.Marshal(explained); err != nil {
		return nil, err
	}
	if answer["data"], err = json.Marshal(data); err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}
