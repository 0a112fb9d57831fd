// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// textMax bounds what is kept of a query for the log and for those who look at what is running.
const textMax = 1024

// formMax is what Go's parser of forms takes.
const formMax = 10 << 20

// Handler lets queries in, one after the other where they are too many, and keeps the account of each. Requests that are no
// query are passed on.
func (b *Books) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		endpoint, ok := endpointOf(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		tenant, err := b.cfg.Tenant(r)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > formMax && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			respond(w, http.StatusBadRequest, "bad_data", fmt.Errorf("cannot read the parameters: they have %d bytes; a form may have 10 MiB", r.ContentLength))
			return
		}
		if err := r.ParseForm(); err != nil && tooLong(err) { // What else is wrong is told by those who answer.
			respond(w, http.StatusBadRequest, "bad_data", fmt.Errorf("cannot read the parameters: %w; a form may have 10 MiB", err))
			return
		}
		a := &Account{
			who: whoAsks(r, tenant), endpoint: endpoint, limits: b.cfg.LimitsOf(tenant),
			query: cut(strings.Join(queriesOf(r), " "), textMax),
		}
		if a.asked, err = askedOf(endpoint, r, b.cfg.Now()); err != nil {
			respond(w, http.StatusBadRequest, "bad_data", err)
			return
		}
		if a.limits.MaxMemory == 0 && b.cfg.MemoryLimit > 0 {
			a.limits.MaxMemory = int64(MemoryShare * float64(b.cfg.MemoryLimit))
		}
		if refusal := b.check(a, r); refusal != nil {
			b.metrics.refused(refusal.Limit)
			respondError(w, refusal)
			return
		}
		arrived := b.cfg.Now()
		err = b.door.enter(r.Context(), tenant, a.limits.MaxConcurrency)
		b.metrics.waited.Add(b.cfg.Now().Sub(arrived).Seconds())
		if err != nil {
			var refusal *Error
			if errors.As(err, &refusal) {
				b.metrics.refused(refusal.Limit)
				respondError(w, refusal)
			}
			return // The client has gone.
		}
		defer b.door.leave(tenant)
		b.serve(a, next, w, r)
	})
}

func (b *Books) serve(a *Account, next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, finish := b.account(r.Context(), a)
	out := &answer{ResponseWriter: w, a: a}
	defer func() {
		b.finished(a, out, r.Context().Err() != nil)
		finish()
	}()
	next.ServeHTTP(out, r.WithContext(ctx))
}

// endpoints are those that read series, and those that parse queries, below /api/v1 and beside it.
var endpoints = []string{
	"/query", "/query_range", "/query_exemplars", "/series", "/labels", "/read", "/federate", "/format_query", "/parse_query",
}

func endpointOf(r *http.Request) (string, bool) {
	if r.Method == http.MethodOptions {
		return "", false
	}
	path, below := strings.CutPrefix(r.URL.Path, "/api/v1")
	if below && strings.HasPrefix(path, "/label/") || strings.HasPrefix(path, "/search/") {
		return path, true
	}
	return path, slices.Contains(endpoints, path)
}

// tooLong tells whether a form was not read because of its length, for which Go has an error without a name.
func tooLong(err error) bool {
	return errors.As(err, new(*http.MaxBytesError)) || strings.Contains(err.Error(), "POST too large")
}

func queriesOf(r *http.Request) []string {
	all := slices.Clone(r.Form["match[]"])
	if q := r.Form.Get("query"); q != "" {
		all = append(all, q)
	}
	return all
}

// timesOf are the parameters in which an endpoint is told a time. What it does not read may be anything.
func timesOf(endpoint string) []string {
	switch endpoint {
	case "/query":
		return []string{"time"}
	case "/query_range":
		return []string{"start", "end", "step"}
	case "/federate", "/format_query", "/parse_query", "/read":
		return nil
	default:
		return []string{"start", "end"}
	}
}

// askedOf reads for which time something is asked. What is not a time is left to those who answer, but for numbers that are none.
func askedOf(endpoint string, r *http.Request, now time.Time) (a asked, err error) {
	said := map[string]string{}
	for _, name := range timesOf(endpoint) {
		said[name] = r.Form.Get(name)
		if f, err := strconv.ParseFloat(said[name], 64); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return a, fmt.Errorf("invalid parameter %q: %.20q is not a number", name, said[name])
		}
	}
	a.start, a.end = now, now
	if t, ok := timeOf(said["time"]); ok {
		a.start, a.end = t, t
	}
	if t, ok := timeOf(said["start"]); ok {
		a.start = t
	}
	if t, ok := timeOf(said["end"]); ok {
		a.end = t
	}
	step := said["step"]
	if f, err := strconv.ParseFloat(step, 64); err == nil {
		a.step = time.Duration(f * float64(time.Second))
	} else if d, err := model.ParseDuration(step); err == nil {
		a.step = time.Duration(d)
	}
	return a, nil
}

func timeOf(s string) (time.Time, bool) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(f) > math.MaxInt64/1e9 { // Beyond it there are no nanoseconds.
			return time.Time{}, false
		}
		return time.Unix(0, int64(f*1e9)), true
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}

// check says which limit a query is beyond before anything is done for it.
func (b *Books) check(a *Account, r *http.Request) *Error {
	subquery, refusal := a.limits.checkText(queriesOf(r)...)
	if refusal != nil {
		return refusal
	}
	q := r.Form.Get("query")
	if q == "" || a.asked.end.Before(a.asked.start) {
		return nil
	}
	a.labels = labelsOf(b.cfg.Parser, q)
	return a.limits.checkShape(b.cfg.Parser, q, a.asked, subquery)
}

// retryAfter is how soon one who found no room should come again, in seconds.
const retryAfter = "5"

func respondError(w http.ResponseWriter, e *Error) {
	kind := "execution"
	if e.Status == http.StatusServiceUnavailable {
		kind = "unavailable"
		w.Header().Set("Retry-After", retryAfter)
	}
	respond(w, e.Status, kind, e)
}

// respond writes an error in the form of Prometheus' API.
func respond(w http.ResponseWriter, status int, kind string, err error) {
	body, _ := json.Marshal(map[string]string{"status": "error", "errorType": kind, "error": err.Error()}) // Strings can be encoded.
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // The client may be gone.
}

// answer remembers how a query was answered, and gives the answer of one that was ended the status of the reason where the
// handler could not know it.
type answer struct {
	http.ResponseWriter
	a      *Account
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if s, ok := StatusOf(w.a.reason()); ok && status >= http.StatusBadRequest {
		status = s
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *answer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (w *answer) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
