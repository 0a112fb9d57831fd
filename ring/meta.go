// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// metaVersion is the first byte of the gossip meta. Fields may be appended
	// without changing it: a reader ignores what follows the fields it knows.
	metaVersion = 1
	// metaBytesMax is memberlist's limit; it panics beyond.
	metaBytesMax = 512
	// metaHoles and metaNewcomer are the bits of Member.Holes and Member.Newcomer. Readers
	// ignore bits that they do not know.
	metaHoles    = 1
	metaNewcomer = 2
)

var errMetaShort = errors.New("gossip meta is cut short")

// meta is what a member gossips of itself, beside its name and gossip address.
// The layout is in docs/format/meta.md.
type meta struct {
	Member
	Settings Settings
}

// encode fails if the member is not valid; see Member.validate.
func (m meta) encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("encode gossip meta: %w", err)
	}
	s := m.Settings
	buf := make([]byte, 0, metaBytesMax)
	buf = append(buf, metaVersion, byte(m.State))
	buf = binary.AppendUvarint(buf, m.Generation)
	for _, n := range []uint64{
		uint64(s.RF), uint64(s.HashVersion), uint64(s.ProtocolVersion),
		uint64(s.OutOfOrderWindow.Milliseconds()), uint64(s.BlockDuration.Milliseconds()),
	} {
		buf = binary.AppendUvarint(buf, n)
	}
	buf = appendString(buf, m.Zone)
	buf = appendString(buf, m.InternalAddr)
	buf = appendString(buf, m.HTTPAddr)
	var flags uint64
	if m.Holes {
		flags |= metaHoles
	}
	if m.Newcomer {
		flags |= metaNewcomer
	}
	buf = binary.AppendUvarint(buf, flags)
	buf = binary.AppendUvarint(buf, m.Refilled)
	if len(buf) > metaBytesMax {
		return nil, fmt.Errorf("encode gossip meta: %d bytes are more than %d", len(buf), metaBytesMax)
	}
	return buf, nil
}

// decodeMeta reads the meta of the member with the given name. What it accepts,
// encode accepts too; bytes after the known fields are those of a later version.
func decodeMeta(name string, buf []byte) (meta, error) {
	if len(buf) < 2 {
		return meta{}, errMetaShort
	}
	if buf[0] != metaVersion {
		return meta{}, fmt.Errorf("gossip meta has version %d, this is version %d; run the same version of penstock on all members", buf[0], metaVersion)
	}
	r := metaReader{buf: buf[2:]}
	m := meta{Member: Member{Name: name, State: State(buf[1]), Generation: r.uvarint(math.MaxUint64)}}
	m.Settings = Settings{
		RF:               int(r.uvarint(math.MaxInt32)),
		HashVersion:      int(r.uvarint(math.MaxInt32)),
		ProtocolVersion:  int(r.uvarint(math.MaxInt32)),
		OutOfOrderWindow: r.milliseconds(),
		BlockDuration:    r.milliseconds(),
	}
	m.Zone, m.InternalAddr, m.HTTPAddr = r.string(), r.string(), r.string()
	if r.err == nil && len(r.buf) > 0 { // The first versions end here.
		flags := r.uvarint(math.MaxUint64)
		m.Holes, m.Newcomer = flags&metaHoles != 0, flags&metaNewcomer != 0
		m.Refilled = r.uvarint(math.MaxUint64)
	}
	if r.err != nil {
		return meta{}, r.err
	}
	if err := m.validate(); err != nil {
		return meta{}, fmt.Errorf("decode gossip meta: %w", err)
	}
	return m, nil
}

// metaReader reads fields one after the other and keeps the first error; after
// it, fields are zero.
type metaReader struct {
	buf []byte
	err error
}

func (r *metaReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.buf)
	if r.err != nil {
		return 0
	}
	if n <= 0 {
		r.err = errMetaShort
		return 0
	}
	if v > limit {
		r.err = fmt.Errorf("gossip meta has the number %d where at most %d is possible", v, limit)
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *metaReader) milliseconds() time.Duration {
	const limit = math.MaxInt64 / uint64(time.Millisecond)
	return time.Duration(r.uvarint(limit)) * time.Millisecond
}

func (r *metaReader) string() string {
	n := r.uvarint(metaBytesMax)
	if r.err == nil && n > uint64(len(r.buf)) {
		r.err = errMetaShort
	}
	if r.err != nil {
		return ""
	}
	s := string(r.buf[:n])
	r.buf = r.buf[n:]
	return s
}
