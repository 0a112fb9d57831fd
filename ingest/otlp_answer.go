// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// otlpResult is what became of an OTLP request. OTLP counts data points, of which a
// classic histogram is one and many series.
type otlpResult struct {
	points   int // in the request
	rejected int // of them, in whole or part
	reasons  map[Reason]int
	examples []string
	// unavailable is why some series did not get a quorum, so that all has to be sent
	// again.
	unavailable string

	// ownReasons are those of reasons that no batch has counted.
	ownReasons map[Reason]int

	// delivery is the same in samples.
	delivery otlpDelivery
	// held are the parts that were dropped because another HA replica is elected.
	held []heldRequest
}

// refuse notes that data points were refused before they were translated. None, with a
// reason, is something that is no data point.
func (r *otlpResult) refuse(n otlpCount, reason Reason, format string, args ...any) {
	if r.ownReasons == nil {
		r.ownReasons = map[Reason]int{}
	}
	r.ownReasons[reason] += max(1, n.points)
	r.delivery.sifted += n.samples
	r.delivery.refuse(reason, n.samples)
	r.reject(n.points, reason, func() string { return fmt.Sprintf(format, args...) })
}

func (r *otlpResult) reject(points int, reason Reason, example func() string) {
	r.rejected += points
	if r.reasons == nil {
		r.reasons = map[Reason]int{}
	}
	r.reasons[reason] += max(1, points)
	if len(r.examples) < answerExamples {
		r.examples = append(r.examples, example())
	}
}

// addOutcome notes what became of a batch. owners has, beside each of its series, the
// number of the data point that the series is of, or 0.
func (r *otlpResult) addOutcome(b *Batch, o Outcome, owners []uint32) {
	r.delivery.add(b, o)
	if o.Unavailable > 0 && r.unavailable == "" {
		r.unavailable = unavailableText(b, o)
	}
	if len(b.refused)+len(o.Rejected) == 0 {
		return
	}
	seen := map[uint32]bool{0: true}
	for _, list := range [][]Rejection{b.refused, o.Rejected} {
		for _, rejection := range list {
			// An exemplar that is not stored is no loss of a data point; it is counted.
			if rejection.Items.Samples+rejection.Items.Histograms == 0 {
				continue
			}
			points := 0
			if owner := owners[rejection.Series]; !seen[owner] {
				seen[owner] = true
				points = 1
			} else if owner != 0 {
				continue
			}
			r.reject(points, rejection.Reason, func() string {
				return b.describe(rejection.Series) + ": " + rejection.Detail
			})
		}
	}
}

// otlpAnswer is what an OTLP request is answered with.
type otlpAnswer struct {
	status   int
	text     string
	rejected int
	// retryAfter is in seconds; 0 leaves it to the status.
	retryAfter int
}

// answer maps the result to an answer. As in remote write, something unavailable means
// that all should be sent again. A request of which something is stored has partly
// succeeded; one of which nothing is, is a bad request.
func (r *otlpResult) answer() otlpAnswer {
	switch {
	case r.unavailable != "":
		return otlpAnswer{status: http.StatusServiceUnavailable, text: r.unavailable}
	case len(r.reasons) == 0:
		return otlpAnswer{status: http.StatusOK}
	case r.rejected > 0 && r.rejected >= r.points:
		return otlpAnswer{status: http.StatusBadRequest, text: r.text()}
	default:
		return otlpAnswer{status: http.StatusOK, text: r.text(), rejected: r.rejected}
	}
}

func (r *otlpResult) text() string {
	return fmt.Sprintf("%d of %d data points refused in whole or part; the rest is stored. %s. Examples:\n%s",
		r.rejected, r.points, reasonList(r.reasons), strings.Join(r.examples, "\n"))
}

func otlpAnswerError(err error) otlpAnswer {
	a := answerError(err)
	return otlpAnswer{status: a.status, text: a.text, retryAfter: a.retryAfter}
}

// writeOTLPAnswer sends a: as OTLP wants it, an export response or, for a failure, a
// google.rpc.Status, in the encoding of the request.
func writeOTLPAnswer(w http.ResponseWriter, format otlpFormat, a otlpAnswer) {
	setStatusHeaders(w.Header(), a.status, a.retryAfter)
	w.Header().Set("Content-Type", format.contentType())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body(format)) // The sender may be gone; nothing to do.
}

func (a otlpAnswer) body(format otlpFormat) []byte {
	text := boundedText(a.text)
	switch {
	case format == otlpText:
		return []byte(text + "\n")
	case a.status != http.StatusOK && format == otlpProto:
		const fieldStatusMessage = 2
		return appendEntry(nil, fieldStatusMessage, []byte(text))
	case a.status != http.StatusOK:
		body, _ := json.Marshal(map[string]string{"message": text})
		return body
	case text == "" && format == otlpJSON:
		return []byte("{}")
	case text == "": // partial_success must be absent, and nothing else is in the message.
		return nil
	}
	resp := pmetricotlp.NewExportResponse()
	resp.PartialSuccess().SetRejectedDataPoints(int64(a.rejected))
	resp.PartialSuccess().SetErrorMessage(text)
	encode := resp.MarshalProto
	if format == otlpJSON {
		encode = resp.MarshalJSON
	}
	body, err := encode()
	if err != nil {
		return nil // Cannot happen for a message of a number and a valid text.
	}
	return body
}

// firstError is the first of the errors that the converter has joined one by one. To
// ask all of them for their text would take time with the square of their number.
func firstError(err error) error {
	for {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok {
			return err
		}
		err = joined.Unwrap()[0]
	}
}

// printable makes the text of an error of the converter safe to show: it quotes the
// names of a sender in most places, but not in all.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
