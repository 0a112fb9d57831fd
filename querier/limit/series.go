// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"math"
	"strings"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	// The samples of the first series of a set are counted, and after countAll of them those of one in countOneIn, for all: to
	// count each sample of each would cost some percent of a query.
	countAll, countOneIn = 16, 32
	// countedAtOnce is after how many of them the account is told.
	countedAtOnce = 512
	// settleEvery is after how many entries in the book of a set its account is told.
	settleEvery = 64
	// slabSeries is how many series are made at once.
	slabSeries = 128
)

// seriesSet books each series of a set, and each that is read.
type seriesSet struct {
	inner  storage.SeriesSet
	a      *Account
	turn   *turn
	points int64 // That the engine makes of a series, unless it keeps all samples.
	all    bool

	// Booked here first: the account is shared.
	touched, memory int64
	entries, settle int // Settled when entries are as many.

	slab   []series
	opened int64 // Series whose samples were asked for.
	err    error
	begun  bool
}

// Next implements storage.SeriesSet. Its first call may wait for members and the bucket, and is no turn of ours.
func (s *seriesSet) Next() bool {
	if s.err != nil {
		return false
	}
	var more bool
	if s.begun {
		if s.err = s.turn.yield(); s.err != nil {
			return false
		}
		more = s.inner.Next()
	} else {
		s.begun = true
		s.turn.stop()
		more = s.inner.Next()
		if s.err = s.turn.begin(); s.err != nil {
			return false
		}
	}
	if !more {
		s.err = s.pay()
	}
	return more
}

// book takes up what is one entry in the account.
func (s *seriesSet) book(series, memory int64) error {
	s.touched += series
	s.memory += memory
	if s.entries++; s.entries < s.settle {
		return nil
	}
	return s.pay()
}

// pay settles what was booked, and says when to do so next: when it is worth it, and not after the limit of series.
func (s *seriesSet) pay() error {
	if s.entries == 0 {
		return nil
	}
	err := s.a.touch(s.touched, s.memory)
	s.touched, s.memory, s.entries, s.settle = 0, 0, 0, settleEvery
	if most := s.a.limits.MaxSeries; most > 0 {
		s.settle = int(min(settleEvery, max(most-s.a.series.Load(), 0)+1))
	}
	return err
}

// At implements storage.SeriesSet.
func (s *seriesSet) At() storage.Series {
	if len(s.slab) == cap(s.slab) {
		s.slab = make([]series, 0, slabSeries)
	}
	inner := s.inner.At()
	if err := s.book(1, seriesMemory+s.a.labels.of(int64(inner.Labels().ByteSize()))); err != nil && s.err == nil {
		s.err = err
	}
	s.slab = append(s.slab, series{Series: inner, set: s})
	return &s.slab[len(s.slab)-1]
}

// Err implements storage.SeriesSet.
func (s *seriesSet) Err() error {
	if s.err != nil {
		return s.a.explain(s.err)
	}
	return s.a.explain(s.inner.Err())
}

// Warnings implements storage.SeriesSet.
func (s *seriesSet) Warnings() annotations.Annotations {
	w := s.inner.Warnings()
	s.a.warned(w)
	return w
}

// Newest passes on a time after which the set has no samples; the end of time if that is not known.
func (s *seriesSet) Newest() int64 {
	if inner, ok := s.inner.(interface{ Newest() int64 }); ok {
		return inner.Newest()
	}
	return math.MaxInt64
}

// warned remembers that an answer is partial, which the fan-out says in a warning.
func (a *Account) warned(warnings annotations.Annotations) {
	for text := range warnings {
		if strings.HasPrefix(text, "partial response") {
			a.partial.Store(true)
		}
	}
}

// series is one of a seriesSet.
type series struct {
	storage.Series
	set *seriesSet
}

// Iterator implements storage.Series. Each is where others may have their turn, and where a query that was ended stops.
func (s *series) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	set := s.set
	if err := set.turn.yield(); err != nil {
		return errIterator{err: set.a.explain(err)}
	}
	if err := set.book(0, set.points*pointMemory); err != nil {
		return errIterator{err: err}
	}
	c, counted := reuse.(*counter)
	if counted {
		c.flush()
		reuse = c.Iterator
	}
	set.opened++
	weight := int64(1)
	if set.opened > countAll {
		if set.opened%countOneIn != 0 {
			return s.Series.Iterator(reuse)
		}
		weight = countOneIn
	}
	if !counted {
		c = &counter{}
	}
	*c = counter{Iterator: s.Series.Iterator(reuse), set: set, weight: weight}
	return c
}

// Sources passes on what the series knows of where its samples are from, for whoever explains an answer. Nil: nothing.
func (s *series) Sources() func(t int64) []string {
	if inner, ok := s.Series.(interface{ Sources() func(t int64) []string }); ok {
		return inner.Sources()
	}
	return nil
}

// counter counts the samples of one series, for it and for others that are not counted.
type counter struct {
	chunkenc.Iterator
	set    *seriesSet
	weight int64 // Of each sample.
	n      int64
	err    error
}

// Next implements chunkenc.Iterator.
func (c *counter) Next() chunkenc.ValueType {
	if c.n++; c.n == countedAtOnce && !c.flush() {
		return chunkenc.ValNone
	}
	v := c.Iterator.Next()
	if v == chunkenc.ValNone {
		c.flush()
	}
	return v
}

// flush tells the account what was counted. It returns false if the query has ended.
func (c *counter) flush() bool {
	if c.err != nil || c.n == 0 {
		return c.err == nil
	}
	n := c.n * c.weight
	c.n = 0
	if c.set.all {
		c.set.a.grow(n * pointMemory)
	}
	if c.err = c.set.a.decoded(n); c.err == nil {
		c.err = c.set.turn.yield()
	}
	return c.err == nil
}

// Err implements chunkenc.Iterator.
func (c *counter) Err() error {
	if c.err != nil {
		return c.set.a.explain(c.err)
	}
	return c.Iterator.Err()
}

// errIterator is what is left of a series when its query has ended.
type errIterator struct {
	chunkenc.Iterator
	err error
}

// milliseconds is a Unix time. As an alias it also tells go vet that Seek is not meant to be an io.Seeker's.
type milliseconds = int64

// Next implements chunkenc.Iterator.
func (errIterator) Next() chunkenc.ValueType { return chunkenc.ValNone }

// Seek implements chunkenc.Iterator.
func (errIterator) Seek(milliseconds) chunkenc.ValueType { return chunkenc.ValNone }

// Err implements chunkenc.Iterator.
func (e errIterator) Err() error { return e.err }

// chunkSet books each series of a set of chunks.
type chunkSet struct {
	storage.ChunkSeriesSet
	a   *Account
	err error
}

// Next implements storage.ChunkSeriesSet.
func (s *chunkSet) Next() bool { return s.err == nil && s.ChunkSeriesSet.Next() }

// At implements storage.ChunkSeriesSet.
func (s *chunkSet) At() storage.ChunkSeries {
	at := s.ChunkSeriesSet.At()
	// It is encoded and gone, and what it held goes with it.
	if err := s.a.touch(1, 0); err != nil && s.err == nil {
		s.err = err
	}
	return at
}

// Err implements storage.ChunkSeriesSet.
func (s *chunkSet) Err() error {
	if s.err != nil {
		return s.a.explain(s.err)
	}
	return s.a.explain(s.ChunkSeriesSet.Err())
}

// Warnings implements storage.ChunkSeriesSet.
func (s *chunkSet) Warnings() annotations.Annotations {
	w := s.ChunkSeriesSet.Warnings()
	s.a.warned(w)
	return w
}
