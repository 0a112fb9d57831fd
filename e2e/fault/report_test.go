// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

// maxComplaints are shown of a server.
const maxComplaints = 5

// report is what a run is summed up in.
type report struct {
	phases  []phaseReport
	latency latency
}

// phaseReport is one kind of fault.
type phaseReport struct {
	name            string
	faults          int
	took, repair    time.Duration // repair: the longest
	direct, proxied checker.Answers
	asked, failed   int             // questions, to all
	failures        []checker.Asked // of those to HAProxy and to members that were not harmed at the time
	answers         checker.Findings
	retried         float64 // by both Prometheus servers
}

// phase runs a fault so many times and judges what senders and users saw meanwhile.
func (r *rig) phase(name string, times int, fault func(i int)) phaseReport {
	r.t.Helper()
	if *only != "" && *only != name || times == 0 {
		return phaseReport{}
	}
	p := phaseReport{name: name, faults: times}
	retried := r.a.Retried() + r.b.Retried()
	start := time.Now()
	for i := range times {
		fault(i)
		p.repair = max(p.repair, r.repaired())
	}
	end := time.Now()
	p.took = end.Sub(start)
	p.retried = r.a.Retried() + r.b.Retried() - retried
	direct, proxied := r.direct.Attempts.Between(start, end, nil), r.proxied.Attempts.Between(start, end, nil)
	p.direct, p.proxied = checker.CountAnswers(direct), checker.CountAnswers(proxied)
	for _, asked := range r.watch.Between(start, end) {
		p.asked++
		p.answers.Add(asked.Findings)
		if asked.Failed() {
			p.failed++
			if !r.wasAway(asked) {
				p.failures = append(p.failures, asked)
			}
		}
		if err := asked.Findings.Err(); err != nil {
			r.t.Errorf("%s: %s answered at %s as if it was complete: %v", name, asked.Target, asked.At.Format(time.StampMilli), err)
		}
	}
	if n := p.direct.Refused + p.proxied.Refused; n > 0 {
		r.t.Errorf("%s: %d requests were refused for good:\n%s", name, n, checker.Texts(slices.Concat(direct, proxied), 10))
	}
	for _, server := range []*harness.Prometheus{r.a, r.b} {
		if err := server.Lost(); err != nil {
			r.t.Errorf("%s: %v:\n%s", name, err, complaints(server))
		}
	}
	r.t.Logf("%s: %d times in %s; direct: %s; proxied: %s; %d of %d questions failed, %d of them at members that were not harmed",
		name, times, p.took.Round(time.Second), p.direct, p.proxied, p.failed, p.asked, len(p.failures))
	if p.proxied.Failed() > 0 {
		r.t.Logf("%s, answers through HAProxy:\n%s", name, checker.Texts(proxied, 5))
	}
	for _, a := range p.failures[:min(3, len(p.failures))] {
		r.t.Logf("%s: %s did not answer in full after %s: %v", name, a.Target, a.Took.Round(time.Millisecond), a.Err)
	}
	r.report.phases = append(r.report.phases, p)
	return p
}

// complaints are the last lines of a server's log that say why a write was given up.
func complaints(p *harness.Prometheus) string {
	var lines []string
	for line := range strings.Lines(p.Process.Log()) {
		if strings.Contains(line, "non-recoverable") || strings.Contains(line, "not written") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-maxComplaints):], "")
}

// print writes the table.
func (r *rig) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\ttimes\ttook\trepaired within\tdirect 2xx\t5xx\tnone\tproxied 2xx\t5xx\tnone\tPrometheus retried\tquestions\tfailed\tat the unharmed\tshort\twrong\t")
	for _, p := range r.report.phases {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%g\t%d\t%d\t%d\t%d\t%d\t\n", p.name, p.faults,
			p.took.Round(time.Second), p.repair.Round(100*time.Millisecond),
			p.direct.OK, p.direct.Unavailable, p.direct.None, p.proxied.OK, p.proxied.Unavailable, p.proxied.None,
			p.retried, p.asked, p.failed, len(p.failures), p.answers.Lost, p.answers.Faults()-p.answers.Lost)
	}
	w.Flush()
	r.t.Logf("\n%s", b.String())
	r.printLatency()
}
