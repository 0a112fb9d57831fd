// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// positionEvery bounds how many hints a crash in the middle of a replay
	// makes it send again.
	positionEvery = 256
)

// replay is Log.Replay for one member.
func (m *memberLog) replay(ctx context.Context, send func(context.Context, []byte) error) (int, error) {
	m.replaying.Lock()
	defer m.replaying.Unlock()
	segments, err := m.sealed()
	if err != nil {
		return 0, err
	}
	total := 0
	for _, seg := range segments {
		n, err := m.replaySegment(ctx, seg, send)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// sealed ends the active segment and returns all there are: none of them changes
// any more, and what is appended from now on goes to another one.
func (m *memberLog) sealed() ([]*segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	m.seal()
	return append([]*segment(nil), m.segments...), nil
}

// replaySegment sends what is left of a segment and removes it, which is the
// commit of all that was in it. On an error it records how far it came.
func (m *memberLog) replaySegment(ctx context.Context, seg *segment, send func(context.Context, []byte) error) (sent int, err error) {
	f, err := os.Open(m.path(seg.seq))
	if err != nil {
		return 0, fmt.Errorf("open hint segment: %w", err)
	}
	defer f.Close()
	sent, err = m.sendAll(ctx, seg, f, send)
	m.log.metrics.replayed.WithLabelValues(m.name).Add(float64(sent))

	var corrupt *corruptError
	switch {
	case errors.Is(err, io.EOF):
		return sent, m.remove(seg)
	case errors.Is(err, errTorn):
		m.log.metrics.torn.WithLabelValues(m.name).Inc()
		m.logger.Warn("a hint segment ends in a torn record, as after a crash", "segment", seg.seq)
		return sent, m.remove(seg)
	case errors.As(err, &corrupt):
		return sent, m.setAside(seg, corrupt)
	default:
		return sent, errors.Join(err, m.savePosition(seg))
	}
}

// sendAll sends records until an error, io.EOF at the end of the segment.
func (m *memberLog) sendAll(ctx context.Context, seg *segment, src io.ReaderAt, send func(context.Context, []byte) error) (sent int, err error) {
	r, err := newSegmentReader(src, seg.size)
	if err != nil {
		return 0, err
	}
	r.offset = seg.offset
	for passed := 1; ; passed++ {
		rec, err := r.next()
		if err != nil {
			return sent, err
		}
		if err := ctx.Err(); err != nil {
			return sent, err
		}
		if m.log.cfg.Now().Sub(rec.at) > m.log.cfg.MaxAge {
			m.log.metrics.expired.WithLabelValues(m.name).Inc()
			m.log.debts.add(m.name, rec.at, rec.at, dropExpired)
		} else {
			if err := send(ctx, rec.payload); err != nil {
				m.at(seg, rec.at)
				return sent, err
			}
			sent++
		}
		m.passed(seg, r.offset, rec.at)
		if passed%positionEvery == 0 {
			if err := m.savePosition(seg); err != nil {
				m.logger.Warn("cannot record how far hints were replayed", "err", err)
			}
		}
	}
}

// passed moves the position behind a record.
func (m *memberLog) passed(seg *segment, offset int64, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seg.offset = offset
	seg.oldest = at // Of the one before; the next is hardly younger.
	seg.records = max(seg.records-1, 0)
}

// at notes when the record was written at which a replay stopped.
func (m *memberLog) at(seg *segment, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seg.oldest = at
}

func (m *memberLog) savePosition(seg *segment) error {
	return savePosition(m.dir, position{Segment: seg.seq, Offset: seg.offset})
}

// setAside keeps a damaged segment for a look and counts what is lost with it.
func (m *memberLog) setAside(seg *segment, cause *corruptError) error {
	lost := m.left(seg)
	m.log.debts.add(m.name, seg.oldest, latest(seg.newest, m.log.cfg.Now()), dropCorrupt)
	m.log.metrics.dropped.WithLabelValues(m.name, dropCorrupt).Add(float64(max(lost, 1)))
	m.logger.Error("hint segment is damaged, the rest of it is lost to this member",
		"segment", seg.seq, "hints_at_least", lost, "kept_as", filepath.Join(m.dir, corruptFile), "err", cause)
	if err := os.Rename(m.path(seg.seq), filepath.Join(m.dir, corruptFile)); err != nil {
		return fmt.Errorf("set damaged hint segment aside: %w", err)
	}
	m.forget(seg)
	return nil
}

func (m *memberLog) left(seg *segment) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return seg.records
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
