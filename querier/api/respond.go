// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/prometheus/prometheus/util/httputil"
)

// handlers answers what Prometheus' own handlers cannot.
type handlers struct {
	cfg    Config
	logger *slog.Logger
}

// answerFunc returns the data of an answer, or why there is none.
type answerFunc func(r *http.Request) (any, *apiError)

// apiError is an error in the form of Prometheus' API.
type apiError struct {
	status int
	kind   string // "errorType".
	err    error
}

var errNotReady = errors.New("this member does not take queries now: it is starting or stopping; retry, or ask another member")

func badData(err error) *apiError  { return &apiError{http.StatusBadRequest, "bad_data", err} }
func internal(err error) *apiError { return &apiError{http.StatusInternalServerError, "internal", err} }

// response is the envelope of every answer.
type response struct {
	Status    string `json:"status"`
	Data      any    `json:"data,omitempty"`
	ErrorType string `json:"errorType,omitempty"`
	Error     string `json:"error,omitempty"`

	Warnings []string `json:"warnings,omitempty"`
}

// warnedData is the data of an answer in which something is lacking.
type warnedData struct {
	data     any
	warnings []error
}

func (h *handlers) handle(answer answerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, apiErr := answer(r)
		if apiErr != nil {
			h.respondError(w, r, apiErr)
			return
		}
		answer := response{Status: "success", Data: data}
		if d, ok := data.(warnedData); ok {
			answer.Data = d.data
			for _, warning := range d.warnings {
				answer.Warnings = append(answer.Warnings, warning.Error())
			}
		}
		h.respond(w, r, http.StatusOK, answer)
	})
}

// respondError answers in Prometheus' form, which for what it scrapes is plain text.
func (h *handlers) respondError(w http.ResponseWriter, r *http.Request, e *apiError) {
	if r.URL.Path == pathFederate {
		http.Error(w, e.err.Error(), e.status)
		return
	}
	h.respond(w, r, e.status, response{Status: "error", ErrorType: e.kind, Error: e.err.Error()})
}

func (h *handlers) respond(w http.ResponseWriter, r *http.Request, status int, resp response) {
	httputil.SetCORS(w, h.cfg.CORSOrigin, r)
	body, err := json.Marshal(resp)
	if err != nil {
		h.logger.Error("answer cannot be encoded", "path", r.URL.Path, "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		h.logger.Debug("answer not delivered", "path", r.URL.Path, "err", err)
	}
}
