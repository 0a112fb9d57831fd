// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"net/http"
)

// served is a question of a peer that is being answered: its turn begins when its answer is being made, not when it came, so that
// those who wait for leave to be answered do not hold one.
type served struct{ turn *turn }

type servedKey struct{}

func servedFrom(ctx context.Context) *served {
	s, _ := ctx.Value(servedKey{}).(*served)
	return s
}

// PeerHandler keeps an account of each question of a peer that next answers: its answer takes memory and a core here. The limits
// are those of the tenant.
func (b *Books) PeerHandler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := b.cfg.Tenant(r)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		a := &Account{who: whoAsks(r, tenant), endpoint: r.URL.Path, limits: b.cfg.LimitsOf(tenant)}
		ctx, finish := b.account(r.Context(), a)
		defer finish()
		s := &served{turn: &turn{turns: b.turns, ctx: ctx}}
		defer s.turn.stop()
		next.ServeHTTP(&servedWriter{ResponseWriter: w, turn: s.turn}, r.WithContext(context.WithValue(ctx, servedKey{}, s)))
	})
}

// servedWriter lets others compute while it waits for the network.
type servedWriter struct {
	http.ResponseWriter
	turn *turn
}

// Write implements io.Writer.
func (w *servedWriter) Write(p []byte) (int, error) {
	held := w.turn.held
	w.turn.stop()
	n, err := w.ResponseWriter.Write(p)
	if held && err == nil {
		err = w.turn.begin()
	}
	return n, err
}

// Flush implements http.Flusher.
func (w *servedWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for http.ResponseController.
func (w *servedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
