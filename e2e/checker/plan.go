// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"math"
	"strconv"
	"time"
)

// Metric is the name of every series of every load.
const Metric = "e2e_fault_sample"

// PartLabel tells the shards of all loads apart.
const PartLabel = "part"

// replicaLabel is one that the nodes deduplicate by; each series has one replica, so that nothing is left to choose.
const replicaLabel = "replica"

// Plan says which samples a load consists of: every series has one sample in each tick. A shard is a set of series
// that always travel in one request, as those of a queue shard of Prometheus do.
type Plan struct {
	Name     string // of the load
	Seed     uint64
	Shards   int
	Series   int // of one shard, 256 at the most
	Interval time.Duration
	Start    time.Time // of tick 0; whole milliseconds
}

// Time is the timestamp of a tick, in milliseconds.
func (p Plan) Time(tick int) int64 {
	return p.Start.UnixMilli() + int64(tick)*p.Interval.Milliseconds()
}

// Tick is the tick with a timestamp, if there is one.
func (p Plan) Tick(ms int64) (int, bool) {
	since, step := ms-p.Start.UnixMilli(), p.Interval.Milliseconds()
	return int(since / step), since >= 0 && since%step == 0
}

// Value is the value of a series of a shard at a tick: any sign, 32 exponents, all bits of the fraction.
func (p Plan) Value(shard, series, tick int) float64 {
	h := mix(p.Seed ^ mix(uint64(shard)<<40|uint64(series)<<32|uint64(tick)))
	const lowestExponent = 0x3f0
	return math.Float64frombits(h&(1<<63) | (lowestExponent+h>>58&0x1f)<<52 | h&(1<<52-1))
}

// mix is the finaliser of splitmix64: every bit of the input changes half of those of the output.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// labels are those of a series, sorted by name, as pairs.
func (p Plan) labels(shard, series int) [][2]string {
	return [][2]string{
		{"__name__", Metric},
		{"instance", "instance-" + strconv.Itoa(series)},
		{PartLabel, p.Part(shard)},
		{replicaLabel, "one"},
	}
}

// Part is the value of PartLabel that the series of a shard have, and no others.
func (p Plan) Part(shard int) string { return p.Name + "-" + strconv.Itoa(shard) }

// Selector matches the series of a shard.
func (p Plan) Selector(shard int) string {
	return Metric + `{` + PartLabel + `="` + p.Part(shard) + `"}`
}
