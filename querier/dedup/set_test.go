// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// listSet is a series set of given series, with a warning and an error at its end if set.
type listSet struct {
	series   []storage.Series
	next     int
	warnings annotations.Annotations
	err      error
}

func (s *listSet) Next() bool {
	s.next++
	return s.next <= len(s.series)
}
func (s *listSet) At() storage.Series                { return s.series[s.next-1] }
func (s *listSet) Err() error                        { return s.err }
func (s *listSet) Warnings() annotations.Annotations { return s.warnings }
