// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Field numbers of prometheus.WriteRequest and its TimeSeries, and of the fields of
// the 2.0 Request that tell one message from the other.
const (
	fieldV1Series   = 1
	fieldV1Metadata = 3
	fieldV2Symbols  = 4
	fieldV2Series   = 5

	fieldLabels     = 1
	fieldSamples    = 2
	fieldExemplars  = 3
	fieldHistograms = 4

	// fieldSampleStart and fieldHistogramStart are the start timestamps. Remote
	// write 2.0 defines them; between members they travel as extensions of 1.0.
	fieldSampleStart    = 3
	fieldHistogramStart = 17
)

// errMismatch refuses a body that has fields of the other message: it would be read
// without them, and its samples would be lost with a 2xx.
var errMismatch = errors.New("body does not match the declared message")

// tooLargeError refuses a request for its size; it will never fit.
type tooLargeError struct {
	what  string
	n     int64
	limit int64
}

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("%s %d exceeds limit %d", e.what, e.n, e.limit)
}

// scanV1 reads a remote write 1.0 request. The batch's series are views of body.
func (b *Batch) scanV1(body []byte) error {
	b.body, b.form = body, protoV1
	c := cursor{b: body}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch field {
		case fieldV1Series:
			var msg []byte
			if msg, err = c.message(typ); err == nil {
				err = b.scanSeriesV1(msg, c.i-len(msg))
			}
		case fieldV1Metadata:
			var msg []byte
			if msg, err = c.message(typ); err == nil {
				err = b.scanMetadata(msg)
			}
		case fieldV2Symbols, fieldV2Series:
			return errMismatch
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// marks remembers where a series' views begin in the arenas.
type marks struct{ samples, histograms, exemplars int }

func (b *Batch) mark() marks {
	return marks{len(b.samples), len(b.histograms), len(b.exemplars)}
}

// addSeries appends a series with the items that were added to the arenas since m, and
// returns it to be filled in where it is.
func (b *Batch) addSeries(m marks) (*Series, error) {
	if n := len(b.series) + 1; n > b.limits.SeriesPerRequest {
		return nil, overLimit(LimitRequestSeries, "number of series", int64(n), int64(b.limits.SeriesPerRequest))
	}
	b.series = append(b.series, Series{})
	s := &b.series[len(b.series)-1]
	s.samples = spanOf(m.samples, len(b.samples))
	if len(b.histograms) > m.histograms || len(b.exemplars) > m.exemplars {
		x := b.addExtra(s)
		x.histograms = spanOf(m.histograms, len(b.histograms))
		x.exemplars = spanOf(m.exemplars, len(b.exemplars))
	}
	b.received.add(b.counts(s))
	return s, nil
}

// checkItems bounds the number of items in the arenas.
func (b *Batch) checkItems() error {
	n := len(b.samples) + len(b.histograms) + len(b.exemplars)
	if n > b.limits.ItemsPerRequest {
		return overLimit(LimitRequestSamples, "number of samples", int64(n), int64(b.limits.ItemsPerRequest))
	}
	return nil
}

// scanSeriesV1 reads the TimeSeries message that begins at position at of the body.
func (b *Batch) scanSeriesV1(msg []byte, at int) error {
	m := b.mark()
	c := cursor{b: msg, i: labelsEnd(msg)}
	run := labelRun{copied: -1, to: c.i}
	for !c.done() {
		from := c.i
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		var item []byte
		switch field {
		case fieldLabels:
			if _, err = c.message(typ); err == nil {
				b.extendRun(&run, msg, from, c.i)
			}
		case fieldSamples:
			if item, err = c.message(typ); err == nil {
				err = b.scanSample(item, false)
			}
		case fieldExemplars:
			if item, err = c.message(typ); err == nil {
				err = b.scanExemplar(item)
			}
		case fieldHistograms:
			if item, err = c.message(typ); err == nil {
				err = b.scanHistogram(item, false)
			}
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	labels, place, from := spanOf(at+run.from, at+run.to), inBody, b.body
	if run.copied >= 0 {
		labels, place, from = spanOf(run.copied, len(b.arena)), inArena, b.arena
	}
	var hash labelHash
	if b.cache != nil {
		hash = b.cache.cache.hash(within(from, labels)) // Now, while its bytes are near.
	}
	s, err := b.addSeries(m)
	if err != nil {
		return err
	}
	s.message, s.labels, s.labelsIn, s.hash = spanOf(at, at+len(msg)), labels, place, hash
	return nil
}

// labelsEnd returns where the labels end that the message begins with. It takes the
// short way through entries of less than 128 bytes, as nearly all are; where they
// end, the scanner goes on with whatever is there.
func labelsEnd(msg []byte) int {
	const labelTag = fieldLabels<<3 | wireBytes
	i := 0
	for i+1 < len(msg) && msg[i] == labelTag && msg[i+1] < 0x80 {
		next := i + 2 + int(msg[i+1])
		if next > len(msg) {
			break
		}
		i = next
	}
	return i
}

// labelRun is where the label entries of a series are: one stretch of the message, as
// every known sender writes them, or a copy at the end of the arena if they are
// scattered.
type labelRun struct {
	from, to int
	copied   int // start in the arena; -1 while the stretch is in one piece
}

// extendRun adds the label entry msg[from:to].
func (b *Batch) extendRun(run *labelRun, msg []byte, from, to int) {
	switch {
	case run.copied >= 0:
		b.arena = append(b.arena, msg[from:to]...)
	case run.to == 0:
		run.from, run.to = from, to
	case run.to == from:
		run.to = to
	default:
		run.copied = len(b.arena)
		b.arena = append(append(b.arena, msg[run.from:run.to]...), msg[from:to]...)
	}
}

// scanSample reads a Sample message into the arena. The start timestamp is a known
// field in 2.0 (strict); in 1.0 it is an extension and anything else in its place
// is an unknown field.
func (b *Batch) scanSample(msg []byte, strict bool) error {
	var s Sample
	c := cursor{b: msg}
	// The way in which every known sender writes a sample that is not zero.
	const valueTag = 1<<3 | wireFixed64
	if len(msg) > 9 && msg[0] == valueTag {
		s.V = math.Float64frombits(binary.LittleEndian.Uint64(msg[1:]))
		c.i = 9
	}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		var v uint64
		switch {
		case field == 1:
			v, err = c.double(typ)
			s.V = math.Float64frombits(v)
		case field == 2:
			v, err = c.number(typ)
			s.T = int64(v)
		case field == fieldSampleStart && (strict || typ == wireVarint):
			v, err = c.number(typ)
			s.ST = int64(v)
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	b.samples = append(b.samples, s)
	return b.checkItems()
}
