// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
)

// Headers of remote write 2.0 that say what was written.
const (
	headerSamplesWritten    = "X-Prometheus-Remote-Write-Samples-Written"
	headerHistogramsWritten = "X-Prometheus-Remote-Write-Histograms-Written"
	headerExemplarsWritten  = "X-Prometheus-Remote-Write-Exemplars-Written"
)

const (
	// answerBytesMax bounds the text of an answer: senders log the first 1024 bytes.
	answerBytesMax = 1024
	// answerExamples is how many series an answer names.
	answerExamples = 3
	// seriesBytesMax bounds how much of a series' labels an answer shows.
	seriesBytesMax = 160
	// retryAfterMin and retryAfterMax bound Retry-After, in seconds. A sender waits
	// that long in place of its own backoff, so that it is short; and it varies, so
	// that senders that were refused together do not come back together.
	retryAfterMin, retryAfterMax = 2, 6
)

// answer is what a write is answered with.
type answer struct {
	status  int
	text    string
	written Counts
	// retryAfter is in seconds; 0 leaves it to the status.
	retryAfter int
}

// answerOutcome maps what became of a batch to an answer: something unavailable is
// 503, because delivering the same request again changes nothing that was written;
// otherwise something refused is 400, and everything else of the batch is stored.
func answerOutcome(b *Batch, o Outcome) answer {
	rejected := slices.Concat(b.refused, o.Rejected)
	switch {
	case o.Unavailable > 0:
		return answer{status: http.StatusServiceUnavailable, text: unavailableText(b, o), written: o.Written}
	case len(rejected) > 0:
		return answer{status: http.StatusBadRequest, text: rejectedText(b, rejected), written: o.Written}
	default:
		return answer{status: http.StatusNoContent, written: o.Written}
	}
}

// answerError maps an error of the request as a whole to an answer. There is no
// other table: an error that is not listed means that the body is not the message.
func answerError(err error) answer {
	var refused *requestError
	var large *tooLargeError
	var over *limitError
	switch {
	case errors.As(err, &over):
		return answer{status: over.status, text: over.Error(), retryAfter: over.retryAfter}
	case errors.As(err, &refused):
		return answer{status: refused.status, text: refused.msg}
	case errors.As(err, &large):
		return answer{status: http.StatusRequestEntityTooLarge, text: large.Error()}
	default:
		return answer{status: http.StatusBadRequest, text: "cannot decode: " + err.Error()}
	}
}

func unavailableText(b *Batch, o Outcome) string {
	return fmt.Sprintf("%d of %d series not written: %s; try again", o.Unavailable, len(b.series), o.Cause)
}

func rejectedText(b *Batch, rejected []Rejection) string {
	var items Counts
	series := map[int]struct{}{}
	byReason := map[Reason]int{}
	for _, r := range rejected {
		items.add(r.Items)
		series[r.Series] = struct{}{}
		byReason[r.Reason]++
	}
	var sb strings.Builder
	fmt.Fprintf(&sb, "%d of %d series refused in whole or part (%d samples, %d histograms, %d exemplars); the rest is stored. %s. Examples:",
		len(series), len(b.series), items.Samples, items.Histograms, items.Exemplars, reasonList(byReason))
	for _, r := range rejected[:min(answerExamples, len(rejected))] {
		detail := r.Detail
		if detail == "" {
			detail = string(r.Reason) // An owner details some of its refusals only.
		}
		fmt.Fprintf(&sb, "\n%s: %s", b.describe(r.Series), detail)
	}
	return sb.String()
}

// reasonList says how often there was which reason.
func reasonList(counts map[Reason]int) string {
	var list []string
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s: %d", r, counts[r]))
	}
	return strings.Join(list, ", ")
}

// describe names a series for a human, as far as it is known.
func (b *Batch) describe(i int) string {
	s := &b.series[i]
	d := newLabelDecoder()
	if s.labelsIn == inRefs && !b.resolvable(b.refsOf(s)) {
		return "series " + strconv.Itoa(i)
	}
	if n, err := d.read(b.labelBytesOf(s, nil), DefaultLabelsPerSeries); n == 0 || err != nil {
		return "series " + strconv.Itoa(i)
	}
	var name string
	parts := make([]string, 0, len(d.pairs))
	size, full := 0, false
	for _, p := range d.pairs {
		if string(p.name) == model.MetricNameLabel {
			name = escape(p.value) // Wherever it is, it is shown.
			continue
		}
		part := escape(p.name) + "=" + quote(p.value)
		if size += len(part); size <= seriesBytesMax {
			parts = append(parts, part)
		} else if !full {
			parts, full = append(parts, "..."), true
		}
	}
	return name + "{" + strings.Join(parts, ", ") + "}"
}

// resolvable tells whether all label references of a 2.0 series are good.
func (b *Batch) resolvable(refs []uint32) bool {
	for _, ref := range refs {
		if uint64(ref) >= uint64(len(b.symbols)) {
			return false
		}
	}
	return len(refs)%2 == 0
}

// writeAnswer sends a. The Written headers belong to 2.0, whatever the outcome is.
func writeAnswer(w http.ResponseWriter, proto protocol, a answer) {
	h := w.Header()
	if proto == protoV2 {
		h.Set(headerSamplesWritten, strconv.Itoa(a.written.Samples))
		h.Set(headerHistogramsWritten, strconv.Itoa(a.written.Histograms))
		h.Set(headerExemplarsWritten, strconv.Itoa(a.written.Exemplars))
	}
	setStatusHeaders(h, a.status, a.retryAfter)
	if a.text == "" {
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(boundedText(a.text) + "\n")) // The sender may be gone; nothing to do.
}

// boundedText leaves room for the end of a line.
func boundedText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), answerBytesMax-1)], "")
}

// setStatusHeaders sets what belongs to a status. A retryAfter of 0 seconds leaves the
// time to the status.
func setStatusHeaders(h http.Header, status, retryAfter int) {
	switch status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		if retryAfter == 0 {
			retryAfter = retryAfterMin + rand.IntN(retryAfterMax-retryAfterMin+1)
		}
	}
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
}
