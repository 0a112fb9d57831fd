// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"net/http"
)

const (
	// otlpElementsMax bounds the messages in a request: attributes, data points,
	// exemplars. One takes two bytes on the wire and a hundred once it is decoded. A
	// data point of ten attributes is some 20 elements, so that this is 50,000 of them;
	// collectors send some 8,000 at a time.
	otlpElementsMax = 1 << 20
	// otlpElementBytes is what an element takes in memory, about, when it is decoded.
	otlpElementBytes = 100
	// otlpDepthMax bounds how deeply messages nest. The value of an attribute is at a
	// depth of 7; the rest is for values that are lists of maps. The decoder recurses
	// without a bound, and a stack that overflows ends the process.
	otlpDepthMax = 32
	// otlpPackedBytes is how many bytes of packed numbers count as one element.
	otlpPackedBytes = 8
)

var errOTLPDepth = fmt.Errorf("messages nested deeper than %d", otlpDepthMax)

// surveyOTLP walks an encoded request without decoding it and returns how many elements
// the decoder would have to hold. An error means that it must not be decoded.
func surveyOTLP(body []byte, format otlpFormat) (int, error) {
	s := otlpSurvey{}
	var err error
	if format == otlpJSON {
		err = s.walkJSON(body)
	} else {
		err = s.walk(otlpRequest, body, 0)
	}
	return s.elements, err
}

type otlpSurvey struct{ elements int }

func (s *otlpSurvey) add(n int) error {
	if s.elements += n; s.elements > otlpElementsMax {
		return refuseRequest(http.StatusRequestEntityTooLarge, "request has more than %d elements (attributes, data points, exemplars); send smaller batches", otlpElementsMax)
	}
	return nil
}

// walk counts the messages within msg, which is one of the given kind.
func (s *otlpSurvey) walk(kind otlpKind, msg []byte, depth int) error {
	if depth > otlpDepthMax {
		return errOTLPDepth
	}
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		within := kind.field(field)
		if within == otlpScalar || typ != wireBytes {
			if err := c.skip(typ); err != nil {
				return err
			}
			continue
		}
		inner, err := c.bytes()
		if err != nil {
			return err
		}
		n := 1
		if within == otlpPacked {
			n = len(inner) / otlpPackedBytes
		}
		if err := s.add(n); err != nil {
			return err
		}
		if within < otlpLeaf {
			if err := s.walk(within, inner, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkJSON counts objects, and the commas that stand for numbers in lists. It does not
// check that the text is JSON; the decoder does.
func (s *otlpSurvey) walkJSON(text []byte) error {
	depth, commas, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		if quoted {
			switch text[i] {
			case '\\':
				i++
			case '"':
				quoted = false
			}
			continue
		}
		switch text[i] {
		case '"':
			quoted = true
		case ',':
			commas++
		case '}', ']':
			depth--
		case '{', '[':
			// A message is an object, and most are in a list too.
			if depth++; depth > 2*otlpDepthMax {
				return errOTLPDepth
			}
			if err := s.add(1); err != nil {
				return err
			}
		}
	}
	if depth != 0 || quoted {
		return errors.New("text is not complete JSON")
	}
	return s.add(commas / otlpPackedBytes)
}

// otlpKind is a message of OTLP that has messages in it, or what else a field holds.
type otlpKind uint32

const (
	otlpRequest otlpKind = iota
	otlpResourceMetrics
	otlpResource
	otlpEntity
	otlpScopeMetrics
	otlpScope
	otlpMetric
	otlpNumbers
	otlpHistograms
	otlpExponentials
	otlpSummaries
	otlpNumber
	otlpHistogram
	otlpExponential
	otlpSummary
	otlpBuckets
	otlpExemplar
	otlpKeyValue
	otlpValue
	otlpValueList
	otlpKeyValueList

	otlpLeaf   // a message, or a repeated string, with nothing to count in it
	otlpPacked // packed numbers, which may grow when they are decoded
	otlpScalar
)

// field says what a field of a message holds, as far as it counts.
func (k otlpKind) field(n int32) otlpKind {
	const bits = 10 // The largest number in use is 1000.
	if n >= 1<<bits {
		return otlpScalar
	}
	switch k<<bits | otlpKind(n) {
	case otlpRequest<<bits | 1:
		return otlpResourceMetrics
	case otlpResourceMetrics<<bits | 1:
		return otlpResource
	case otlpResourceMetrics<<bits | 2, otlpResourceMetrics<<bits | 1000:
		return otlpScopeMetrics
	case otlpResource<<bits | 3:
		return otlpEntity
	case otlpEntity<<bits | 3, otlpEntity<<bits | 4, otlpSummary<<bits | 6:
		return otlpLeaf
	case otlpScopeMetrics<<bits | 1:
		return otlpScope
	case otlpScopeMetrics<<bits | 2:
		return otlpMetric
	case otlpMetric<<bits | 5, otlpMetric<<bits | 7:
		return otlpNumbers
	case otlpMetric<<bits | 9:
		return otlpHistograms
	case otlpMetric<<bits | 10:
		return otlpExponentials
	case otlpMetric<<bits | 11:
		return otlpSummaries
	case otlpNumbers<<bits | 1:
		return otlpNumber
	case otlpHistograms<<bits | 1:
		return otlpHistogram
	case otlpExponentials<<bits | 1:
		return otlpExponential
	case otlpSummaries<<bits | 1:
		return otlpSummary
	case otlpNumber<<bits | 5, otlpHistogram<<bits | 8, otlpExponential<<bits | 11:
		return otlpExemplar
	case otlpExponential<<bits | 8, otlpExponential<<bits | 9:
		return otlpBuckets
	case otlpBuckets<<bits | 2:
		return otlpPacked
	case otlpResource<<bits | 1, otlpScope<<bits | 3, otlpMetric<<bits | 12, otlpNumber<<bits | 7, otlpHistogram<<bits | 9,
		otlpExponential<<bits | 1, otlpSummary<<bits | 7, otlpExemplar<<bits | 7, otlpKeyValueList<<bits | 1:
		return otlpKeyValue
	case otlpKeyValue<<bits | 2, otlpValueList<<bits | 1:
		return otlpValue
	case otlpValue<<bits | 5:
		return otlpValueList
	case otlpValue<<bits | 6:
		return otlpKeyValueList
	default:
		return otlpScalar
	}
}
