// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// The reply to a write between members; docs/format/push.md describes it.

// pushVersion is the version of the protocol between members, in the header and in
// the first byte of a reply.
const pushVersion = 1

var pushVersionText = strconv.Itoa(pushVersion)

const (
	// pushTextBytesMax bounds one text of a reply.
	pushTextBytesMax = 256
	// pushDetails is how many faults of a reply carry a detail: a sender is shown a
	// few examples, not a line for each of its series.
	pushDetails = 16
)

var errPushReply = errors.New("reply is damaged or of an unknown version")

// appendReply appends the encoded reply.
func appendReply(dst []byte, r Reply) []byte {
	dst = append(dst, pushVersion, byte(r.All))
	dst = appendText(dst, string(r.Reason))
	dst = appendText(dst, r.Detail)
	dst = binary.AppendUvarint(dst, uint64(len(r.Faults)))
	for n, f := range r.Faults {
		dst = binary.AppendUvarint(dst, uint64(f.Pos))
		dst = append(dst, byte(f.Verdict))
		dst = binary.AppendUvarint(dst, uint64(len(f.Items)))
		for _, item := range f.Items {
			dst = binary.AppendUvarint(dst, uint64(item))
		}
		dst = appendText(dst, string(f.Reason))
		if n >= pushDetails {
			f.Detail = ""
		}
		dst = appendText(dst, f.Detail)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	s = strings.ToValidUTF8(s[:min(len(s), pushTextBytesMax)], "")
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// decodeReply reads an encoded reply. It checks the form; checkAgainst checks that it
// fits the request.
func decodeReply(data []byte) (Reply, error) {
	if len(data) < 2 || data[0] != pushVersion {
		return Reply{}, errPushReply
	}
	c := replyCursor{cursor: cursor{b: data, i: 1}}
	r := Reply{All: c.verdict(), Reason: c.reason(), Detail: c.text()}
	n := c.uvarint()
	// A fault takes at least five bytes, which bounds what is allocated.
	const faultBytesMin = 5
	if n > uint64(len(data))/faultBytesMin {
		return Reply{}, errPushReply
	}
	r.Faults = make([]Fault, 0, n)
	for range n {
		f := Fault{Pos: uint32(c.uvarint()), Verdict: c.verdict(), Items: c.items()}
		f.Reason, f.Detail = c.reason(), c.text()
		r.Faults = append(r.Faults, f)
	}
	if c.failed || !c.done() {
		return Reply{}, errPushReply
	}
	return r, nil
}

// checkAgainst tells whether the reply names only series and items that the request
// had, each once and in order.
func (r *Reply) checkAgainst(b *Batch, part []uint32) error {
	next := uint64(0)
	for _, f := range r.Faults {
		if uint64(f.Pos) < next || int(f.Pos) >= len(part) {
			return errPushReply
		}
		next = uint64(f.Pos) + 1
		if f.Items != nil && f.Verdict != Rejected {
			return errPushReply
		}
		total := b.counts(&b.series[part[f.Pos]]).total()
		nextItem := uint64(0)
		for _, item := range f.Items {
			if uint64(item) < nextItem || int(item) >= total {
				return errPushReply
			}
			nextItem = uint64(item) + 1
		}
	}
	return nil
}

// replyCursor reads the parts of a reply; the first thing that is wrong makes all
// that follows empty.
type replyCursor struct {
	cursor
	failed bool
}

func (c *replyCursor) uvarint() uint64 {
	if c.failed {
		return 0
	}
	v, err := c.varint()
	c.failed = err != nil
	return v
}

func (c *replyCursor) verdict() Verdict {
	switch v := Verdict(c.uvarint()); v {
	case Accepted, Rejected, Unavailable:
		return v
	default:
		c.failed = true
		return pending
	}
}

func (c *replyCursor) items() []uint32 {
	n := c.uvarint()
	if n > uint64(len(c.b)-c.i) {
		c.failed = true
	}
	if c.failed || n == 0 {
		return nil
	}
	items := make([]uint32, 0, n)
	for range n {
		items = append(items, uint32(c.uvarint()))
	}
	return items
}

func (c *replyCursor) text() string {
	if c.failed {
		return ""
	}
	b, err := c.bytes()
	if err != nil || len(b) > pushTextBytesMax {
		c.failed = true
		return ""
	}
	return string(b)
}

// reason reads a word; one that this version does not know is "other".
func (c *replyCursor) reason() Reason {
	word := Reason(c.text())
	for _, known := range refusalReasons() {
		if word == known {
			return known
		}
	}
	switch word {
	case "", ReasonNotReady, ReasonStorage, ReasonOverloaded:
		return word
	}
	return ReasonOther
}
