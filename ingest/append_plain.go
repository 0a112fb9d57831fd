// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// appendPlain appends what nearly all series are: one float sample, without exemplars,
// of a series that has a reference. It returns false if s is not that, and with an error
// if it was not appended.
func (tx *transaction) appendPlain(s *Series) (bool, error) {
	if s.samples.n != 1 || s.extra != 0 || tx.hosts.guests != nil || tx.refOf(s) == 0 {
		return false, nil
	}
	smp := &tx.batch.samples[s.samples.from]
	if smp.T > tx.maxTime {
		return false, nil
	}
	ref, err := tx.app.Append(tx.refOf(s), labels.EmptyLabels(), smp.ST, smp.T, smp.V, nil, nil, storage.AOptions{})
	if err != nil {
		return false, err
	}
	tx.appended++
	tx.noteRef(s, ref)
	return true, nil
}

// refOf returns the reference of s in the open TSDB, or 0.
func (tx *transaction) refOf(s *Series) storage.SeriesRef {
	if s.generation != tx.generation || tx.generation == 0 {
		return 0
	}
	return storage.SeriesRef(s.ref)
}

// noteRef notes under which reference s was appended, if that is not known.
func (tx *transaction) noteRef(s *Series, ref storage.SeriesRef) {
	if tx.batch.cache != nil && ref != tx.refOf(s) && ref != 0 && tx.generation != 0 {
		tx.learned = append(tx.learned, learnedRef{s.hash, ref})
	}
}

// learnedRef is a reference that the cache does not know.
type learnedRef struct {
	hash labelHash
	ref  storage.SeriesRef
}

// tellRefs gives the cache what was learned. The transaction must have been committed:
// with a reference others could get samples of a new series into the WAL before the
// series is there.
func (tx *transaction) tellRefs() {
	for _, l := range tx.learned {
		tx.batch.cache.setRef(l.hash, uint64(l.ref), tx.generation)
	}
}
