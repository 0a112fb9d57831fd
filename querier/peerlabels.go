// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
)

// askForm sends a question as a form and decodes the JSON data of the answer.
func askForm[T any](ctx context.Context, p *peers, m Member, operation string, q question) (T, said, error) {
	return postForm[T](ctx, p, m, operation, q.form())
}

func postForm[T any](ctx context.Context, p *peers, m Member, operation string, form url.Values) (T, said, error) {
	var answer reply[T]
	s, err := p.ask(ctx, m, request{
		operation:   operation,
		path:        operation,
		contentType: "application/x-www-form-urlencoded",
		body:        form.Encode(),
	}, func(_ *http.Response, body io.Reader) error {
		if err := json.NewDecoder(body).Decode(&answer); err != nil { // JSON that is cut does not decode.
			return fmt.Errorf("decode answer: %w", err)
		}
		_, err := io.Copy(io.Discard, body) // To its end, so that the connection serves again.
		return err
	})
	if err != nil {
		var none T
		return none, said{}, err
	}
	return answer.Data, s, nil
}

func (p *peers) labelNames(ctx context.Context, m Member, q question) ([]string, said, error) {
	return askForm[[]string](ctx, p, m, opLabels, q)
}

func (p *peers) labelValues(ctx context.Context, m Member, name string, q question) ([]string, said, error) {
	q.label = name
	return askForm[[]string](ctx, p, m, opValues, q)
}

func (p *peers) series(ctx context.Context, m Member, q question) ([]labels.Labels, said, error) {
	return askForm[[]labels.Labels](ctx, p, m, opSeries, q)
}

func (p *peers) exemplars(ctx context.Context, m Member, q question) ([]exemplar.QueryResult, said, error) {
	wire, s, err := askForm[[]wireExemplars](ctx, p, m, opExemplars, q)
	if err != nil {
		return nil, said{}, err
	}
	results, err := fromWire(wire)
	return results, s, err
}
