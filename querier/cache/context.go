// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"net/http"
	"strings"
)

type bypassKey struct{}

// WithBypass returns a context whose queries go to the engine, each by itself: nothing of their answers is taken from the
// store or put into it, and nobody shares them.
func WithBypass(ctx context.Context) context.Context {
	return context.WithValue(ctx, bypassKey{}, true)
}

func bypassed(ctx context.Context) bool {
	on, _ := ctx.Value(bypassKey{}).(bool)
	return on
}

// NoStore returns whether a request says Cache-Control: no-store, as the users of Thanos' and Mimir's query frontends do.
func NoStore(h http.Header) bool {
	for _, value := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-store") {
				return true
			}
		}
	}
	return false
}
