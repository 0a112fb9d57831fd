// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// formMax is what Go's parser of forms takes.
const formMax = 10 << 20

type formKey struct{}

// ReadForm reads the form of a request, and lets the handler of New know how that went: whoever reads it later is not told.
// It is for those who put handlers that look at the form before that one.
func ReadForm(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A handler that looks at the form refuses one that says itself that it is too long, without reading it.
		if r.ContentLength > formMax {
			next.ServeHTTP(w, r)
			return
		}
		if err := r.ParseForm(); err != nil {
			r = r.WithContext(context.WithValue(r.Context(), formKey{}, err))
		}
		next.ServeHTTP(w, r)
	})
}

// checkForm refuses a form that cannot be read where Prometheus does, which elsewhere takes what it can read of it; and
// one that is too long, of which Prometheus would take nothing.
func checkForm(r *http.Request) error {
	err := r.ParseForm()
	if before, ok := r.Context().Value(formKey{}).(error); ok {
		err = before
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*http.MaxBytesError)) || strings.Contains(err.Error(), "POST too large"): // It has no name.
		return fmt.Errorf("cannot read the parameters: %w; a form may have 10 MiB", err)
	}
	told := r.URL.Path == prefix+"/series" || r.Method == http.MethodGet && (r.URL.Path == prefix+"/rules" || r.URL.Path == pathFederate)
	if !told {
		return nil
	}
	return fmt.Errorf("error parsing form values: %w", err)
}
