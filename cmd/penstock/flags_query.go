// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/querier/limit"
)

// queryLimitsConfig is what bounds queries, beside --query.timeout and --query.max-samples.
type queryLimitsConfig struct {
	series, matchers, depth, subqueryPoints int64
	bytes, expressionBytes, regexBytes      units.Base2Bytes
	memory                                  units.Base2Bytes
	concurrency                             int
	queueWait, maxRange, slow               model.Duration
}

func addQueryLimitFlags(cmd *kingpin.CmdClause, c *queryLimitsConfig) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	cmd.Flag("query.max-concurrency", "Most queries that run at a time; further ones wait for --query.max-queue-wait.").
		Default(strconv.Itoa(limit.DefaultConcurrency)).IntVar(&c.concurrency)
	cmd.Flag("query.max-queue-wait", "How long a query waits for others to end before it is answered 503.").
		Default("10s").SetValue(&c.queueWait)
	cmd.Flag("query.max-series", "Most series that one query may touch. 0: any number.").
		Default(number(limit.DefaultSeries)).Int64Var(&c.series)
	cmd.Flag("query.max-bytes", "Most bytes of chunks that one query may read, here, from members and from the bucket. 0: any number.").
		Default("2GiB").BytesVar(&c.bytes)
	cmd.Flag("query.max-memory-bytes", "Most memory that one query may hold, as far as can be told. 0: half of the memory limit of the process.").
		Default("0").BytesVar(&c.memory)
	cmd.Flag("query.max-range", "Longest time that one query may look at, its range selectors included. 0s: any.").
		Default("0s").SetValue(&c.maxRange)
	cmd.Flag("query.max-expression-bytes", "Longest query, as text. 0: any.").
		Default("256KiB").BytesVar(&c.expressionBytes)
	cmd.Flag("query.max-expression-depth", "Deepest nesting of a query; operators in a row count as well. 0: any.").
		Default(number(limit.DefaultDepth)).Int64Var(&c.depth)
	cmd.Flag("query.max-matchers", "Most label matchers of a query. 0: any number.").
		Default(number(limit.DefaultMatchers)).Int64Var(&c.matchers)
	cmd.Flag("query.max-regex-bytes", "Longest regular expression of a label matcher; patterns count four times, and groups 256 bytes each. 0: any.").
		Default("64KiB").BytesVar(&c.regexBytes)
	cmd.Flag("query.max-subquery-points", "Most points of one subquery of a series, times the steps that look at them. 0: any number.").
		Default(number(limit.DefaultSubqueryPoints)).Int64Var(&c.subqueryPoints)
	cmd.Flag("query.slow-log-threshold", "Log queries that take longer than this. 0s: none.").
		Default("10s").SetValue(&c.slow)
}

// queryLimits are the limits of tenants that the limits file does not name.
func (c *queryConfig) queryLimits() limit.Limits {
	return limit.Limits{
		MaxSamples: int64(c.maxSamples), MaxSeries: c.limits.series, MaxBytes: int64(c.limits.bytes), Timeout: time.Duration(c.timeout),
		MaxMemory: int64(c.limits.memory), MaxRange: time.Duration(c.limits.maxRange), MaxExpressionBytes: int64(c.limits.expressionBytes), MaxDepth: c.limits.depth,
		MaxMatchers: c.limits.matchers, MaxRegexBytes: int64(c.limits.regexBytes), MaxSubqueryPoints: c.limits.subqueryPoints,
	}
}

func (c *queryLimitsConfig) check() error {
	if c.concurrency <= 0 {
		return errors.New("--query.max-concurrency must be above 0")
	}
	if c.queueWait <= 0 {
		return errors.New("--query.max-queue-wait must be above 0")
	}
	if min(c.series, c.matchers, c.depth, c.subqueryPoints, int64(c.bytes), int64(c.expressionBytes), int64(c.regexBytes), int64(c.memory)) < 0 {
		return errors.New("limits of queries must not be below 0; 0 is none")
	}
	return nil
}
