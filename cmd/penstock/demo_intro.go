// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// intro tells what is running, where, and what to try.
func (d *demo) intro() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes, replication factor %d. Any URL works as a Grafana data source of type Prometheus.\n",
		len(d.nodes), d.layout.replicationFactor())
	for _, n := range d.nodes {
		fmt.Fprintf(&b, "  %s  %s  pid %d  %s\n", n.addrs.name, n.addrs.url(), n.current().pid, n.addrs.zone)
	}
	fmt.Fprintf(&b, `
An HA pair scrapes %d targets every %s, out of step, and writes to the nodes by
turns: replica="a" by remote write 1.0, replica="b" by 2.0. Blocks are of %s; the
first is uploaded after about four minutes, to
  %s
`, d.cfg.targets, d.cfg.scrapeInterval, demoBlockDuration, d.layout.bucketDir)

	url := d.nodes[0].addrs.url()
	fmt.Fprintf(&b, `
What to try:
  # The pair as if it were one server that never fails: %d targets.
%s
  # Both replicas of each: %d.
%s
  # Request rates over all targets; any node gives the same answer.
%s
  # The members, their state and how many slots each owns.
  curl -s %s/api/v1/status/ring
`, d.cfg.targets, curl(url, "true", "count(up)"),
		2*d.cfg.targets, curl(url, "false", "count(up)"),
		curl(url, "true", "sum by (job) (rate(http_requests_total[1m]))"), url)
	b.WriteString(d.killHint())
	b.WriteString("\nCtrl-C stops everything and leaves nothing behind.\n\n")
	return b.String()
}

// killHint tells how to break the cluster, and what to expect.
func (d *demo) killHint() string {
	victim := d.nodes[len(d.nodes)-1]
	expect := "Nothing fails: the senders try the next one, queries stay complete,\n  # and hints wait for it."
	if d.layout.replicationFactor() < 3 {
		expect = "Too few are left for a quorum: the senders retry until it is back."
	}
	return fmt.Sprintf(`  # Kill a node. %s
  # The demo starts it again after %s; the table shows its new pid.
  kill -9 %d    # %s
`, expect, d.cfg.restartDelay, victim.current().pid, victim.addrs.name)
}

func curl(url, dedup, query string) string {
	return fmt.Sprintf("  curl -sG %s/api/v1/query -d dedup=%s --data-urlencode 'query=%s'", url, dedup, query)
}
