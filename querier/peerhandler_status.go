// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// Fields of the forms that ask for metadata and for counts.
const (
	fieldMetric = "metric"
	fieldLimit  = "limit"
	fieldWhole  = "whole"
	fieldAsked  = "asked"
)

// metadata answers what this member knows of metric families.
func (h *peerHandler) metadata(w http.ResponseWriter, r *http.Request, tenant string) error {
	limit, err := strconv.Atoi(r.FormValue(fieldLimit))
	if err != nil {
		return badRequest(errors.New("limit is not a number of results"))
	}
	h.setLocalStart(w, tenant)
	found := []Metadata{}
	if h.cfg.Metadata != nil {
		found = append(found, h.cfg.Metadata(tenant, r.FormValue(fieldMetric), limit)...)
	}
	return writeReply(h, w, found)
}

func (p *peers) metadata(ctx context.Context, m Member, metric string, limit int) ([]Metadata, said, error) {
	return postForm[[]Metadata](ctx, p, m, opMetadata, url.Values{fieldMetric: {metric}, fieldLimit: {strconv.Itoa(limit)}})
}

// cardinality counts the series in the tenant's head that are this member's to count. It costs a walk over the head's
// index, so one peer is answered at a time.
func (h *peerHandler) cardinality(w http.ResponseWriter, r *http.Request, tenant string) error {
	if h.cfg.Heads == nil {
		return unavailable(errNoHeads)
	}
	if err := r.ParseForm(); err != nil {
		return badRequest(err)
	}
	h.counting.Lock()
	defer h.counting.Unlock()
	h.setLocalStart(w, tenant)
	counted, err := countHead(r.Context(), h.cfg.Heads, tenant, r.Form[fieldWhole], r.Form[fieldAsked])
	if err != nil {
		return err
	}
	return writeReply(h, w, counted)
}

func (p *peers) cardinality(ctx context.Context, m Member, whole, asked []string) (*Cardinality, said, error) {
	return postForm[*Cardinality](ctx, p, m, opCardinality, url.Values{fieldWhole: whole, fieldAsked: asked})
}
