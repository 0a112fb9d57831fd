// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	// quietTime is the least time between two reports of one thing: a foreign node
	// that knocks several times a second is one piece of news.
	quietTime = time.Minute
	// quietKeysMax bounds what strangers can make us remember.
	quietKeysMax = 1024
)

// quiet keeps repeated reports out of the log. Safe for concurrent use.
type quiet struct {
	now  func() time.Time
	mu   sync.Mutex
	last map[string]time.Time
}

func newQuiet(now func() time.Time) *quiet { return &quiet{now: now, last: map[string]time.Time{}} }

// allow reports whether the thing named key was not reported within quietTime.
func (q *quiet) allow(key string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	if last, ok := q.last[key]; ok && now.Sub(last) < quietTime {
		return false
	}
	if len(q.last) >= quietKeysMax {
		clear(q.last)
	}
	q.last[key] = now
	return true
}

// gossipLogger returns the logger for memberlist, which writes lines like
// "[WARN] memberlist: text".
func (c *Cluster) gossipLogger() *log.Logger {
	return log.New(gossipLog{c}, "", 0)
}

type gossipLog struct{ c *Cluster }

// Write takes one line. A line that says that we turned somebody away is
// counted, and told with its remedy; the others keep their level, or lose it
// where an event tells the same better.
func (g gossipLog) Write(line []byte) (int, error) {
	level, text := parseGossipLine(line)
	if reason, refused := classify(text); refused && level >= slog.LevelWarn {
		g.refused(reason, text)
		level = slog.LevelDebug
	}
	g.c.logger.Log(context.Background(), level, "gossip", "text", text)
	return len(line), nil
}

func (g gossipLog) refused(reason RefusalReason, text string) {
	key := "gossip" + string(reason)
	if reason.byMeta() {
		// A member that has our key wrote this text, so it may be told apart by it;
		// without the port, which differs each time.
		text, _, _ = strings.Cut(text, " from=")
		key += text
	} else {
		g.c.metrics.refused.WithLabelValues(string(reason)).Inc()
	}
	if g.c.quiet.allow(key) {
		g.c.logger.Error("gossip from outside this cluster refused", "reason", string(reason), "text", text, "remedy", remedies[reason])
	}
}

// wellKnown are the openings of lines above debug level that say what an event
// or the conflict delegate tells better.
var wellKnown = []string{"Conflicting address", "Refuting a", "Updating address", "Marking "}

func parseGossipLine(line []byte) (slog.Level, string) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelInfo
	// What memberlist calls an error is a failed send to a peer: a warning to us.
	for _, p := range []struct {
		prefix string
		level  slog.Level
	}{
		{"[DEBUG]", slog.LevelDebug},
		{"[INFO]", slog.LevelDebug},
		{"[WARN]", slog.LevelWarn},
		{"[ERR]", slog.LevelWarn},
		{"[ERROR]", slog.LevelWarn},
	} {
		if rest, ok := strings.CutPrefix(text, p.prefix); ok {
			level, text = p.level, strings.TrimSpace(rest)
			break
		}
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	for _, opening := range wellKnown {
		if strings.HasPrefix(text, opening) {
			return slog.LevelDebug, text
		}
	}
	return level, text
}
