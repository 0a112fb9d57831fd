// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requestTimeout bounds one call: a node that hangs must fail a test, not stop it.
const requestTimeout = 30 * time.Second

// API is the HTTP API of a Prometheus server, a Penstock node or a load balancer in front of nodes.
type API struct {
	Name   string
	URL    string
	Tenant string // empty: the default tenant
}

// Response is the answer to one call in the form that Prometheus gives it.
type Response struct {
	Code       int
	RetryAfter string
	Body       string

	Status    string          `json:"status"`
	ErrorType string          `json:"errorType"`
	Error     string          `json:"error"`
	Warnings  []string        `json:"warnings"`
	Data      json.RawMessage `json:"data"`
}

// httpClient is one of many clients over the connections of the process.
func httpClient(timeout time.Duration) *http.Client { return &http.Client{Timeout: timeout} }

// Complete is nil for an answer that is a success and does not say that something is missing.
func (r Response) Complete() error {
	if r.Code != http.StatusOK || r.Status != "success" {
		return fmt.Errorf("status %d: %.300s", r.Code, r.Body)
	}
	if len(r.Warnings) > 0 {
		return fmt.Errorf("warnings: %q", r.Warnings)
	}
	return nil
}

// Scalar is the value of an instant vector of one element. The answer must be complete.
func (r Response) Scalar() (float64, error) {
	if err := r.Complete(); err != nil {
		return 0, err
	}
	var vector struct {
		Result []struct {
			Value [2]json.RawMessage `json:"value"`
		} `json:"result"`
	}
	if err := json.Unmarshal(r.Data, &vector); err != nil {
		return 0, err
	}
	if len(vector.Result) != 1 {
		return 0, fmt.Errorf("%d elements instead of 1", len(vector.Result))
	}
	return strconv.ParseFloat(strings.Trim(string(vector.Result[0].Value[1]), `"`), 64)
}

// Addr is host:port.
func (a API) Addr() string { return strings.TrimPrefix(a.URL, "http://") }

// Call makes a GET request. An error means that there was no answer; every answer, good or bad, is a Response.
func (a API) Call(path string, params url.Values) (Response, error) {
	return a.do(http.MethodGet, path+"?"+params.Encode(), nil, nil)
}

// Post sends a body.
func (a API) Post(path string, header http.Header, body []byte) (Response, error) {
	return a.do(http.MethodPost, path, header, body)
}

func (a API) do(method, path string, header http.Header, body []byte) (Response, error) {
	req, err := http.NewRequest(method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return Response{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if a.Tenant != "" {
		req.Header.Set("X-Scope-OrgID", a.Tenant)
	}
	resp, err := httpClient(requestTimeout).Do(req)
	if err != nil {
		return Response{}, fmt.Errorf("ask %s: %w", a.Name, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return Response{}, fmt.Errorf("read the answer of %s: %w", a.Name, err)
	}
	out := Response{Code: resp.StatusCode, RetryAfter: resp.Header.Get("Retry-After"), Body: string(raw)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &out); err != nil {
			return out, fmt.Errorf("parse the answer of %s: %w", a.Name, err)
		}
	}
	return out, nil
}

// Query is an instant query at a time.
func (a API) Query(query string, at time.Time, opts Options) (Response, error) {
	params := opts.values()
	params.Set("query", query)
	params.Set("time", unixSeconds(at))
	return a.Call("/api/v1/query", params)
}

// Options are the parameters that Penstock adds to Prometheus' own. The zero value sends neither.
type Options struct {
	Dedup   string // "true", "false" or empty
	Partial bool
}

func (o Options) values() url.Values {
	params := url.Values{}
	if o.Dedup != "" {
		params.Set("dedup", o.Dedup)
	}
	if o.Partial {
		params.Set("partial_response", "true")
	}
	return params
}

// Ring is the answer of /api/v1/status/ring.
type Ring struct {
	Version string       `json:"version"`
	Members []RingMember `json:"members"`
}

// RingMember is one member as a node sees it.
type RingMember struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Alive bool   `json:"alive"`
}

// Ring asks a node for the ring as it sees it.
func (a API) Ring() (Ring, error) {
	var ring Ring
	resp, err := a.Call("/api/v1/status/ring", nil)
	if err != nil {
		return ring, err
	}
	if err := resp.Complete(); err != nil {
		return ring, err
	}
	err = json.Unmarshal(resp.Data, &ring)
	return ring, err
}

// Whole is nil when the ring has so many members, all alive and ACTIVE. Those that left for good do not count.
func (r Ring) Whole(members int) error {
	in := slices.DeleteFunc(slices.Clone(r.Members), func(m RingMember) bool { return m.State == "LEFT" })
	if len(in) != members {
		return fmt.Errorf("%d members instead of %d: %v", len(in), members, r.Members)
	}
	for _, m := range in {
		if !m.Alive || m.State != "ACTIVE" {
			return fmt.Errorf("member %s is %s, alive: %v", m.Name, m.State, m.Alive)
		}
	}
	return nil
}
