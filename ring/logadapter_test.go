// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestGossipLog(t *testing.T) {
	now := testTime
	logs := &logBuffer{}
	c := &Cluster{
		logger:  slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelInfo})),
		quiet:   newQuiet(func() time.Time { return now }),
		metrics: newClusterMetrics(nil),
	}
	logger := c.gossipLogger()

	logger.Printf("[DEBUG] memberlist: Initiating push/pull sync with: x")
	logger.Printf("[INFO] memberlist: Marking x as failed, suspect timeout reached")
	logger.Printf("[ERR] memberlist: Conflicting address for x. Mine: 1 Theirs: 2 Old state: 0")
	logger.Printf("[WARN] memberlist: Refuting a suspect message (from: x)")
	require.Empty(t, logs.String())

	logger.Printf("[WARN] memberlist: Was able to connect to x over TCP but UDP probes failed, network may be misconfigured")
	require.Contains(t, logs.String(), `level=WARN msg=gossip text="Was able to connect to x`)

	// A stranger that knocks is counted each time, and reported once a minute.
	for i := range 5 {
		logger.Printf("[ERR] memberlist: discarding packet with unacceptable label %q: from=10.0.0.%d:1", "other", i)
	}
	label := c.metrics.refused.WithLabelValues("label")
	require.Equal(t, 5.0, testutil.ToFloat64(label))
	require.Equal(t, 1, strings.Count(logs.String(), "reason=label"))
	require.Contains(t, logs.String(), `remedy="give every member the same --cluster.label"`)
	now = now.Add(quietTime)
	logger.Printf("[ERR] memberlist: discarding packet with unacceptable label %q: from=10.0.0.1:1", "other")
	require.Equal(t, 2, strings.Count(logs.String(), "reason=label"))

	// What the delegate refused it also counted.
	logger.Printf("[ERR] memberlist: Failed push/pull merge: %s from=10.0.0.1:1234", testSettings.check("x", Settings{}))
	logger.Printf("[ERR] memberlist: Failed push/pull merge: %s from=10.0.0.1:1235", testSettings.check("x", Settings{}))
	require.Zero(t, testutil.ToFloat64(c.metrics.refused.WithLabelValues("settings")))
	require.Equal(t, 1, strings.Count(logs.String(), "reason=settings"))
}

func TestQuietIsBounded(t *testing.T) {
	q := newQuiet(func() time.Time { return testTime })
	require.True(t, q.allow("a"))
	require.False(t, q.allow("a"))
	for i := range 3 * quietKeysMax {
		q.allow(fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(q.last), quietKeysMax)
}
