// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/internal/workload"
)

// demoSummary is the state of the demo at one moment. Its methods render it and
// do nothing else.
type demoSummary struct {
	now     time.Time
	elapsed time.Duration
	senders []demoSenderView
	nodes   []demoNodeView
}

type demoSenderView struct {
	replica   string
	protocol  workload.Protocol
	series    int
	perSecond float64
	stats     workload.Stats
}

// table renders the summary for a terminal.
func (s demoSummary) table() []string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SENDER\tPROTOCOL\tSAMPLES/S\tSENT\tRETRIES\tFAILED")
	for _, v := range s.senders {
		fmt.Fprintf(w, "replica %s\tRW %s\t%.0f\t%s\t%s\t%s\n",
			v.replica, v.protocol, v.perSecond, thousands(float64(v.stats.Samples)), thousands(float64(v.stats.Retries)), thousands(float64(v.stats.Failed)))
	}
	_ = w.Flush()
	b.WriteByte('\n')
	fmt.Fprintln(w, "NODE\tPID\tSTATE\tMEMBERS\tRING\tSERIES\tSAMPLES\tHINTS\tBLOCKS UPLOADED\tURL")
	for _, v := range s.nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			v.name, v.pid(), v.stateText(s.now), v.membersText(), v.ringText(),
			thousands(v.headSeries), thousands(v.appended), thousands(v.hints), thousands(v.uploads), v.url)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\n%s\n", s.copiesText())
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// lines renders the summary for a file or a pipe: a line per sender and node.
func (s demoSummary) lines() []string {
	var out []string
	at := s.elapsed.Round(time.Second)
	for _, v := range s.senders {
		out = append(out, fmt.Sprintf("t=%s sender=%s protocol=%s samples_per_second=%.0f samples=%d retries=%d failed=%d",
			at, v.replica, v.protocol, v.perSecond, v.stats.Samples, v.stats.Retries, v.stats.Failed))
	}
	for _, v := range s.nodes {
		out = append(out, fmt.Sprintf("t=%s node=%s pid=%s state=%q members=%s ring=%s series=%s samples=%s hints=%s uploaded=%s url=%s",
			at, v.name, v.pid(), v.stateText(s.now), v.membersText(), v.ringText(),
			plain(v.headSeries), plain(v.appended), plain(v.hints), plain(v.uploads), v.url))
	}
	return out
}

// copiesText compares what the pair sends with what the nodes hold.
func (s demoSummary) copiesText() string {
	sent, held := 0, 0.0
	for _, v := range s.senders {
		sent += v.series
	}
	for _, v := range s.nodes {
		if !math.IsNaN(v.headSeries) {
			held += v.headSeries
		}
	}
	if sent == 0 || held == 0 {
		return "Nothing is stored yet."
	}
	return fmt.Sprintf("%s series are sent, %s copies of them are held: %.1f each. Running for %s.",
		thousands(float64(sent)), thousands(held), held/float64(sent), s.elapsed.Round(time.Second))
}

func (v demoNodeView) pid() string {
	if v.process.pid == 0 {
		return "-"
	}
	return strconv.Itoa(v.process.pid)
}

// stateText is the state that the node gives itself, or why it gives none.
func (v demoNodeView) stateText(now time.Time) string {
	switch {
	case v.process.pid == 0:
		return fmt.Sprintf("DOWN, starts in %s", max(0, v.process.restartAt.Sub(now)).Round(time.Second))
	case !v.answers:
		return "NO ANSWER"
	default:
		return v.state
	}
}

func (v demoNodeView) membersText() string {
	if !v.answers {
		return "-"
	}
	return fmt.Sprintf("%d/%d", v.alive, v.members)
}

// ringText is enough of the ring version to see whether nodes agree.
func (v demoNodeView) ringText() string {
	if !v.answers {
		return "-"
	}
	return v.ring[:min(6, len(v.ring))]
}

func plain(f float64) string {
	if math.IsNaN(f) {
		return "-"
	}
	return strconv.FormatFloat(f, 'f', 0, 64)
}

// thousands writes a count as 1,234,567.
func thousands(f float64) string {
	digits := []byte(plain(f))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = slices.Insert(digits, i, ',')
	}
	return string(digits)
}
