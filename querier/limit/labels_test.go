// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

func TestLabelSize(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	f := func(query string, of100 int64) {
		t.Helper()
		require.Equal(t, of100, labelsOf(p, query).of(100), query)
	}
	f(`a`, 100)
	f(`a{x="label_replace"}`, 100)
	f(`label_replace(`, 100)
	f(`label_replace(a, "x", "abc", "y", "(.*)")`, 103)
	f(`label_replace(a, "x", "$1$1", "y", "(.*)")`, 304)
	f(`label_replace(label_replace(a, "x", "$1$1", "y", "(.*)"), "x", "$1$1", "x", "(.*)") + b`, 916)
	f(`label_join(a, "x", "--", "b", "c")`, 304)
	f(`sum(label_join(a, "x", "-", "b"))`, 201)
	f(strings.Repeat(`label_replace(`, 900)+"a"+strings.Repeat(`, "x", "$1$1", "x", "(.*)")`, 900), 1<<50)
}

// Labels that double twenty times end the query before the engine makes them: it does not stop while it does.
func TestLongLabelsEndAQuery(t *testing.T) {
	r := newRig(t)
	query := strings.Repeat(`label_replace(`, 20) + "a" + strings.Repeat(`, "i", "$1$1", "i", "(.*)")`, 20)
	a := &Account{limits: r.limits, labels: labelsOf(r.books.cfg.Parser, query)}
	a.limits.MaxMemory = 1 << 30
	ctx, finish := r.books.account(context.Background(), a)
	defer finish()
	q, err := r.engine.NewInstantQuery(ctx, r.store(), nil, query, time.Unix(1000, 0))
	require.NoError(t, err)
	defer q.Close()
	res := q.Exec(ctx)
	require.ErrorContains(t, res.Err, "bytes of memory, and the limit is 1073741824 (query_max_memory_bytes)")
}
