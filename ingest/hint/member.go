// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	segmentSuffix = ".hint"
	// corruptFile is where the last damaged segment of a member is kept for a
	// look; the one before it is replaced, so that there is a bound.
	corruptFile = "corrupt"
)

// segment is one file and what is left to replay of it.
type segment struct {
	seq    uint64
	size   int64 // Good bytes; a failed write may have left more.
	offset int64 // Replayed up to here.

	records        int // Not replayed.
	oldest, newest time.Time
}

// memberLog is the segments of one member, oldest first.
type memberLog struct {
	log    *Log
	name   string
	dir    string
	logger *slog.Logger

	// replaying is held by a replay, and by whoever removes segments.
	replaying sync.Mutex

	mu       sync.Mutex
	segments []*segment
	lastSeq  uint64
	// active is the file of the last segment; nil: the next append makes one.
	active *os.File
	closed bool
}

func newMemberLog(l *Log, name, dir string) *memberLog {
	l.metrics.touch(name)
	return &memberLog{log: l, name: name, dir: dir, logger: l.logger.With("member", name)}
}

func (m *memberLog) path(seq uint64) string {
	return filepath.Join(m.dir, fmt.Sprintf("%016x%s", seq, segmentSuffix))
}

// load finds the segments of an earlier process. It never appends to those: what
// a crash did to their ends stays where it is.
func (m *memberLog) load() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	pos, err := loadPosition(m.dir)
	if err != nil {
		m.logger.Warn("replaying hints from their beginning", "err", err)
	}
	for _, entry := range entries {
		stem, ok := strings.CutSuffix(entry.Name(), segmentSuffix)
		seq, err := strconv.ParseUint(stem, 16, 64)
		if !ok || err != nil {
			continue
		}
		seg, err := m.scan(seq, pos)
		if err != nil {
			return err
		}
		m.segments = append(m.segments, seg)
		m.log.used.Add(seg.size)
		m.lastSeq = max(m.lastSeq, seq)
	}
	slices.SortFunc(m.segments, func(a, b *segment) int { return cmp.Compare(a.seq, b.seq) })
	return nil
}

// scan counts what is left of a segment. Damage is left for the replay to find.
func (m *memberLog) scan(seq uint64, pos position) (*segment, error) {
	f, err := os.Open(m.path(seq))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	seg := &segment{seq: seq, size: info.Size(), offset: headerBytes}
	r, err := newSegmentReader(f, seg.size)
	for err == nil {
		if pos.Segment == seq && r.offset == pos.Offset {
			// All before it was sent. A position that is not between two
			// records belongs to another file, and is never met.
			seg.offset, seg.records = r.offset, 0
		}
		var at time.Time
		if at, err = r.skip(); err == nil {
			seg.add(at)
		}
	}
	var corrupt *corruptError
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) || errors.As(err, &corrupt) {
		return seg, nil
	}
	return nil, fmt.Errorf("segment %s: %w", f.Name(), err)
}

// add counts a record written at a time.
func (s *segment) add(at time.Time) {
	if s.records == 0 {
		s.oldest = at
	}
	s.records++
	s.newest = at
}

// append writes one record. The bytes are reserved by the caller.
func (m *memberLog) append(payload []byte, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.active != nil && m.last().size >= segmentBytes {
		m.seal()
	}
	if m.active == nil {
		if err := m.begin(); err != nil {
			return err
		}
	}
	if err := m.log.unsynced.cover(m.name, now); err != nil {
		return err
	}
	seg := m.last()
	header := recordHeader(payload, now)
	_, err := m.active.Write(header[:])
	if err == nil {
		_, err = m.active.Write(payload)
	}
	if err == nil && m.log.cfg.Sync {
		if err = m.active.Sync(); err != nil {
			// What a failed sync left of the file in memory is not what the disk has.
			defer m.seal()
		}
	}
	if err != nil {
		m.undo(seg)
		return err
	}
	seg.size += int64(recordOverhead + len(payload))
	seg.add(now)
	return nil
}

func (m *memberLog) last() *segment { return m.segments[len(m.segments)-1] }

// begin makes a new active segment.
func (m *memberLog) begin() (err error) {
	seq := m.lastSeq + 1
	f, err := os.OpenFile(m.path(seq), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("make segment: %w", err)
	}
	m.lastSeq = seq
	_, err = f.Write(segmentHeader())
	if err == nil && m.log.cfg.Sync {
		err = errors.Join(f.Sync(), syncDir(m.dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("begin segment: %w", err), f.Close(), os.Remove(m.path(seq)))
	}
	m.active = f
	m.segments = append(m.segments, &segment{seq: seq, size: headerBytes, offset: headerBytes})
	m.log.used.Add(headerBytes)
	return nil
}

// undo takes back a record that was written in part. If it cannot, the segment
// ends there: a reader takes the rest for torn.
func (m *memberLog) undo(seg *segment) {
	err := m.active.Truncate(seg.size)
	if err == nil {
		_, err = m.active.Seek(seg.size, io.SeekStart)
	}
	if err != nil {
		m.logger.Warn("cannot take back a hint written in part, beginning a new segment", "err", err)
		m.seal()
	}
}

// seal ends the active segment; mu is held.
func (m *memberLog) seal() {
	if m.active == nil {
		return
	}
	if err := m.active.Close(); err != nil {
		m.logger.Warn("closed a hint segment with an error", "err", err)
	}
	m.active = nil
}

// remove deletes a segment; what was in it is sent, expired or set aside.
func (m *memberLog) remove(seg *segment) error {
	if err := os.Remove(m.path(seg.seq)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove hint segment: %w", err)
	}
	m.forget(seg)
	return nil
}

// forget takes a segment off the list and off the bound.
func (m *memberLog) forget(seg *segment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.segments, seg); i >= 0 {
		m.segments = slices.Delete(m.segments, i, i+1)
		m.log.used.Add(-seg.size)
	}
}

// sweep removes segments whose newest record is before a time. It leaves a member
// alone that is being replayed: the replay drops what is too old.
func (m *memberLog) sweep(before time.Time) {
	if !m.replaying.TryLock() {
		return
	}
	defer m.replaying.Unlock()
	for {
		seg := m.firstOlder(before)
		if seg == nil {
			return
		}
		// First, so that a crash in between tells of the hole once too often.
		m.log.debts.add(m.name, seg.oldest, seg.newest, dropExpired)
		if err := m.remove(seg); err != nil {
			m.logger.Warn("cannot drop hints that are too old", "err", err)
			return
		}
		m.log.metrics.expired.WithLabelValues(m.name).Add(float64(seg.records))
		m.logger.Warn("dropped hints that are too old", "hints", seg.records)
	}
}

// firstOlder returns the first segment if it is all too old, sealed.
func (m *memberLog) firstOlder(before time.Time) *segment {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.segments) == 0 || m.segments[0].records == 0 || !m.segments[0].newest.Before(before) {
		return nil
	}
	if len(m.segments) == 1 {
		m.seal()
	}
	return m.segments[0]
}

func (m *memberLog) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	var s Stats
	for _, seg := range m.segments {
		if seg.records == 0 {
			continue
		}
		if s.Records == 0 {
			s.Oldest = seg.oldest
		}
		s.Records += seg.records
		s.Bytes += seg.size - seg.offset
	}
	return s
}

// settle notes that nothing waits, unless something has come meanwhile.
func (m *memberLog) settle(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.ContainsFunc(m.segments, func(s *segment) bool { return s.records > 0 }) {
		m.log.unsynced.delivered(m.name, now)
	}
}

func (m *memberLog) close() error {
	m.replaying.Lock()
	defer m.replaying.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.seal()
	if m.log.unsynced == nil {
		return nil
	}
	return m.sync()
}

// sync makes all segments durable.
func (m *memberLog) sync() error {
	for _, seg := range m.segments {
		f, err := os.Open(m.path(seg.seq))
		if err != nil {
			return fmt.Errorf("sync hints: %w", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync hints: %w", err)
		}
	}
	return errors.Join(syncDir(m.dir), syncDir(m.log.cfg.Dir))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
