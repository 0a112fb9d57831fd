// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import "fmt"

// readbackTicks is how much is asked for at once.
const readbackTicks = 300

// ReadBack compares what a load has sent in its first ticks with what read finds in the ticks [from, to) of a shard. A
// question that is not answered is an error.
func (l *Load) ReadBack(ticks int, read func(shard, from, to int) ([]Found, error)) (Findings, error) {
	var all Findings
	for shard := range l.Plan.Shards {
		for from := 0; from < ticks; from += readbackTicks {
			to := min(from+readbackTicks, ticks)
			w := Window{Shard: shard, From: from, To: to, Before: l.Record.Shard(shard, from, to)}
			answer, err := read(shard, from, to)
			if err != nil {
				return all, fmt.Errorf("ticks %d to %d of shard %d: %w", from, to, shard, err)
			}
			w.After = l.Record.Shard(shard, from, to)
			all.Add(l.Plan.Compare(w, answer))
		}
	}
	return all, nil
}
