// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Limits are those of one tenant. Zero is none, but for Timeout and MaxSamples, which there always are.
type Limits struct {
	// MaxSamples bounds the samples that the engine holds at a time for one query.
	MaxSamples int64
	// MaxSeries bounds the series that a query touches, those of each HA replica counted.
	MaxSeries int64
	// MaxBytes bounds what is read of chunks: here, from members, and from the bucket.
	MaxBytes int64
	// Timeout bounds the time from when a query is let in.
	Timeout time.Duration
	// MaxMemory bounds the estimate of what a query holds.
	MaxMemory int64
	// MaxConcurrency bounds the queries of the tenant that run at a time on this node.
	MaxConcurrency int64
	// MaxRange bounds the time between the first and the last sample that a query may look at.
	MaxRange time.Duration
	// MaxExpressionBytes, MaxDepth, MaxMatchers and MaxRegexBytes bound the text, before it is parsed.
	MaxExpressionBytes, MaxDepth, MaxMatchers, MaxRegexBytes int64
	// MaxSubqueryPoints bounds, for each subquery, its points times the steps that look at them.
	MaxSubqueryPoints int64
}

// MarshalJSON implements json.Marshaler. The names are those of the limits file.
func (l Limits) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[Name]any{
		Samples: l.MaxSamples, Series: l.MaxSeries, Bytes: l.MaxBytes, Timeout: model.Duration(l.Timeout), Concurrency: l.MaxConcurrency,
		Range: model.Duration(l.MaxRange), ExpressionBytes: l.MaxExpressionBytes, ExpressionDepth: l.MaxDepth, Matchers: l.MaxMatchers,
		MemoryBytes: l.MaxMemory, RegexBytes: l.MaxRegexBytes, SubqueryPoints: l.MaxSubqueryPoints,
	})
}

// Defaults are the limits of a tenant where nothing says otherwise.
func Defaults() Limits {
	return Limits{
		MaxSamples: DefaultSamples, MaxSeries: DefaultSeries, MaxBytes: DefaultBytes, Timeout: DefaultTimeout,
		MaxExpressionBytes: DefaultExpressionBytes, MaxDepth: DefaultDepth, MaxMatchers: DefaultMatchers, MaxRegexBytes: DefaultRegexBytes,
		MaxSubqueryPoints: DefaultSubqueryPoints,
	}
}

// Name is a limit as the limits file, metrics and answers call it.
type Name string

// The limits by name. Memory, queue and concurrency of the process are of the node and not of a tenant.
const (
	Samples         Name = "query_max_samples"
	Series          Name = "query_max_series"
	Bytes           Name = "query_max_bytes"
	Timeout         Name = "query_timeout"
	MemoryBytes     Name = "query_max_memory_bytes"
	Concurrency     Name = "query_max_concurrency"
	Range           Name = "query_max_range"
	ExpressionBytes Name = "query_max_expression_bytes"
	ExpressionDepth Name = "query_max_expression_depth"
	Matchers        Name = "query_max_matchers"
	RegexBytes      Name = "query_max_regex_bytes"
	SubqueryPoints  Name = "query_max_subquery_points"
	Memory          Name = "memory"
	Queue           Name = "queue"
)

// Names are all reasons for which a query is refused or ended.
var names = []Name{
	Samples, Series, Bytes, Timeout, Concurrency, Range, ExpressionBytes, ExpressionDepth, Matchers, RegexBytes,
	SubqueryPoints, MemoryBytes, Memory, Queue,
}

// Defaults, with the reason for each.
const (
	// DefaultSamples is Prometheus': 50 million samples are 800 MB.
	DefaultSamples = 50_000_000
	// DefaultSeries is more than a node of the recommended size has in its head: a count over everything has an
	// answer there. A series costs about 1 KB.
	DefaultSeries = 2_000_000
	// DefaultBytes holds some 1.5 billion samples, a month of 5,000 series scraped every 15 s twice over.
	DefaultBytes = 2 << 30
	// MemoryShare of the memory limit of the process is what one query may hold where nothing says otherwise: what is there
	// when it comes must have room as well.
	MemoryShare = 0.5
	// DefaultTimeout and DefaultConcurrency are Prometheus'.
	DefaultTimeout     = 2 * time.Minute
	DefaultConcurrency = 20
	// DefaultQueueWait is about as long as somebody waits for a dashboard before reloading it.
	DefaultQueueWait = 10 * time.Second
	// DefaultExpressionBytes holds a dashboard variable with some thousand values, a few times.
	DefaultExpressionBytes = 256 << 10
	// DefaultDepth is above what people nest and generators chain with operators, and far below where recursion takes memory
	// that matters.
	DefaultDepth = 1000
	// DefaultMatchers are of a query in all. Each is looked up in the index of each block.
	DefaultMatchers = 1000
	// DefaultRegexBytes holds a list of a thousand names of pods, or some 16 KB of patterns; see regexSize.
	DefaultRegexBytes = 64 << 10
	// DefaultSubqueryPoints take about a second a series, in which the engine does not look at its timeout.
	DefaultSubqueryPoints = 1_000_000_000
	// DefaultSlow is what is slow for whoever looks at a dashboard.
	DefaultSlow = 10 * time.Second
)

// Flag is the flag that sets the limit for tenants that the limits file does not name.
func (n Name) Flag() string {
	return "--" + strings.ReplaceAll(strings.Replace(string(n), "_", ".", 1), "_", "-")
}

// how tells an operator where to change the limit.
func (n Name) how() string {
	return "change it with " + n.Flag() + ", or for one tenant with " + string(n) + " in --limits.config-file"
}
