// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// gcPercent is how much garbage the runtime lets pile up, in percent of what lives,
// before it collects. What lives here are heads, which grow for hours: with the
// runtime's own 100 a node that makes many new series spends a sixth of its CPU on
// marking the old ones. 150 costs 5 to 10 % of memory, and near the limit of the runtime
// nothing: there it collects as often as it must.
const gcPercent = 150

// SetCollection tells the runtime when to collect garbage, unless GOGC is set, which is
// the operator's word.
func SetCollection() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// Collection returns what the runtime was told, in the form that GOGC has.
func Collection() string {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	if percent := sample[0].Value.Uint64(); percent != math.MaxUint64 {
		return strconv.FormatUint(percent, 10)
	}
	return "off"
}
