// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"encoding/json"
	"time"

	"github.com/prometheus/common/model"

	querylimit "github.com/penstock-io/penstock/querier/limit"
)

// Override is a limit that a flag gives where the file does not.
type Override[T ~int64] struct {
	Set   bool
	Value T
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (o *Override[T]) UnmarshalYAML(unmarshal func(any) error) error {
	var v T
	if err := unmarshal(&v); err != nil {
		return err
	}
	*o = Override[T]{true, v}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o Override[T]) MarshalJSON() ([]byte, error) {
	if !o.Set {
		return []byte("null"), nil
	}
	return json.Marshal(o.Value)
}

// Query returns the limits of the read path: what the file says, or else what the flags do.
func (t *Tenant) Query(flags querylimit.Limits) querylimit.Limits {
	l := flags
	number := func(into *int64, o Override[int64]) {
		if o.Set {
			*into = o.Value
		}
	}
	size := func(into *int64, o Override[Bytes]) { number(into, Override[int64]{o.Set, int64(o.Value)}) }
	duration := func(into *time.Duration, o Override[model.Duration]) {
		if o.Set {
			*into = time.Duration(o.Value)
		}
	}
	number(&l.MaxSamples, t.QueryMaxSamples)
	number(&l.MaxSeries, t.QueryMaxSeries)
	size(&l.MaxBytes, t.QueryMaxBytes)
	size(&l.MaxMemory, t.QueryMaxMemoryBytes)
	duration(&l.Timeout, t.QueryTimeout)
	number(&l.MaxConcurrency, t.QueryMaxConcurrency)
	duration(&l.MaxRange, t.QueryMaxRange)
	size(&l.MaxExpressionBytes, t.QueryMaxExpressionBytes)
	number(&l.MaxDepth, t.QueryMaxExpressionDepth)
	number(&l.MaxMatchers, t.QueryMaxMatchers)
	size(&l.MaxRegexBytes, t.QueryMaxRegexBytes)
	number(&l.MaxSubqueryPoints, t.QueryMaxSubqueryPoints)
	return l
}

// queries are the limits of the read path that are set; times are in seconds.
func (t *Tenant) queries() (set []limit) {
	add := func(name querylimit.Name, is bool, value, least float64) {
		if is {
			set = append(set, limit{string(name), value, least, ceilingCount})
		}
	}
	// Without them a query has no end.
	add(querylimit.Samples, t.QueryMaxSamples.Set, float64(t.QueryMaxSamples.Value), 1)
	add(querylimit.Timeout, t.QueryTimeout.Set, time.Duration(t.QueryTimeout.Value).Seconds(), 0.001)

	add(querylimit.Series, t.QueryMaxSeries.Set, float64(t.QueryMaxSeries.Value), 0)
	add(querylimit.Bytes, t.QueryMaxBytes.Set, float64(t.QueryMaxBytes.Value), 0)
	add(querylimit.MemoryBytes, t.QueryMaxMemoryBytes.Set, float64(t.QueryMaxMemoryBytes.Value), 0)
	add(querylimit.Concurrency, t.QueryMaxConcurrency.Set, float64(t.QueryMaxConcurrency.Value), 0)
	add(querylimit.Range, t.QueryMaxRange.Set, time.Duration(t.QueryMaxRange.Value).Seconds(), 0)
	add(querylimit.ExpressionBytes, t.QueryMaxExpressionBytes.Set, float64(t.QueryMaxExpressionBytes.Value), 0)
	add(querylimit.ExpressionDepth, t.QueryMaxExpressionDepth.Set, float64(t.QueryMaxExpressionDepth.Value), 0)
	add(querylimit.Matchers, t.QueryMaxMatchers.Set, float64(t.QueryMaxMatchers.Value), 0)
	add(querylimit.RegexBytes, t.QueryMaxRegexBytes.Set, float64(t.QueryMaxRegexBytes.Value), 0)
	add(querylimit.SubqueryPoints, t.QueryMaxSubqueryPoints.Set, float64(t.QueryMaxSubqueryPoints.Value), 0)
	return set
}
