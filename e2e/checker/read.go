// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ErrIncomplete is an answer that says itself that something is missing.
var ErrIncomplete = errors.New("the answer has warnings")

// Reader asks the query API.
type Reader struct{ client *http.Client }

// NewReader waits for an answer at most so long.
func NewReader(timeout time.Duration) *Reader {
	return &Reader{&http.Client{Timeout: timeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}}}
}

// Read asks a target for the samples of a shard in the ticks [from, to). An error means that there is no answer to
// compare: none at all, one that is no success, or one that wraps ErrIncomplete.
func (r *Reader) Read(ctx context.Context, target Target, p Plan, shard, from, to int, dedup bool) ([]Found, error) {
	// A range selector leaves its first millisecond out.
	length := p.Time(to-1) - p.Time(from) + 1
	params := url.Values{
		"query": {fmt.Sprintf("%s[%dms]", p.Selector(shard), length)},
		"time":  {strconv.FormatFloat(float64(p.Time(to-1))/1000, 'f', 3, 64)},
		"dedup": {strconv.FormatBool(dedup)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.URL+"/api/v1/query?"+params.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", target.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", target.Name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d: %.300s", target.Name, resp.StatusCode, body)
	}
	found, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target.Name, err)
	}
	return found, nil
}

func parse(body []byte) ([]Found, error) {
	var answer struct {
		Status   string   `json:"status"`
		Warnings []string `json:"warnings"`
		Data     struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Metric map[string]string `json:"metric"`
				Values []Sample          `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("parse the answer: %w", err)
	}
	if len(answer.Warnings) > 0 {
		return nil, fmt.Errorf("%w: %q", ErrIncomplete, answer.Warnings)
	}
	if answer.Status != "success" || answer.Data.ResultType != "matrix" {
		return nil, fmt.Errorf("status %q, type of the result %q", answer.Status, answer.Data.ResultType)
	}
	out := make([]Found, len(answer.Data.Result))
	for i, s := range answer.Data.Result {
		out[i] = Found{Labels: s.Metric, Samples: s.Values}
	}
	return out, nil
}

// UnmarshalJSON reads [seconds, "value"]. Prometheus prints so many digits that the bits come back.
func (s *Sample) UnmarshalJSON(b []byte) error {
	var seconds float64
	var text string
	if err := json.Unmarshal(b, &[]any{&seconds, &text}); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	s.Time, s.Value = int64(math.Round(seconds*1000)), v
	return nil
}
