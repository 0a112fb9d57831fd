// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Next moves to the next series.
func (s *bufferedSet) Next() bool {
	s.next++
	return s.next < len(s.series)
}

// At returns the current series.
func (s *bufferedSet) At() storage.ChunkSeries { return &s.series[s.next] }

// Err returns nil: what is in memory cannot fail any more.
func (*bufferedSet) Err() error { return nil }

// Warnings returns nil; peers send none.
func (*bufferedSet) Warnings() annotations.Annotations { return nil }

// bufferedSeries is one series of a peer's answer.
type bufferedSeries struct {
	lset   labels.Labels
	wire   []byte // In place of lset, if it is not nil: the labels as they are in a message.
	chunks []chunks.Meta
}

func (s *bufferedSeries) Labels() labels.Labels {
	if s.wire != nil {
		return decodeLabels(s.wire, &labels.ScratchBuilder{})
	}
	return s.lset
}

func (s *bufferedSeries) Iterator(it chunks.Iterator) chunks.Iterator {
	list, ok := it.(*chunkList)
	if !ok {
		list = &chunkList{}
	}
	list.chunks, list.next = s.chunks, -1
	return list
}

// chunkList iterates over chunks in memory.
type chunkList struct {
	chunks []chunks.Meta
	next   int
}

func (l *chunkList) Next() bool {
	l.next++
	return l.next < len(l.chunks)
}

func (l *chunkList) At() chunks.Meta { return l.chunks[l.next] }

func (*chunkList) Err() error { return nil }
