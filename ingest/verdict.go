// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// Verdict is what one owner says of one series in a write. The zero value means
// that the owner has not answered yet.
type Verdict uint8

const (
	pending Verdict = iota
	// Accepted means that the owner has the series in its write-ahead log.
	Accepted
	// Rejected means that the owner refuses it and would refuse it again.
	Rejected
	// Unavailable means that the owner could not take it now; a retry may do.
	Unavailable
	// down is Unavailable when it is known that a retry will find the same: the
	// member is dead or leaving, or its circuit is open. It never crosses the
	// network.
	down
)

// String returns the lower-case name of the verdict.
func (v Verdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	case Unavailable:
		return "unavailable"
	case down:
		return "down"
	default:
		return "pending"
	}
}

// Reason says in one word why something was refused. It is a metric label and
// crosses the network between members, so that the set is small and fixed.
type Reason string

// The reasons for which a series, or some of its samples, is refused.
const (
	ReasonSymbols           Reason = "invalid_symbols"
	ReasonMissingName       Reason = "missing_metric_name"
	ReasonLabelNameEmpty    Reason = "empty_label_name"
	ReasonLabelDuplicate    Reason = "duplicate_label"
	ReasonLabelUTF8         Reason = "invalid_utf8"
	ReasonLabelCount        Reason = "too_many_labels"
	ReasonLabelNameLength   Reason = "label_name_too_long"
	ReasonLabelValueLength  Reason = "label_value_too_long"
	ReasonNoSamples         Reason = "no_samples"
	ReasonMixedTypes        Reason = "samples_and_histograms"
	ReasonFuture            Reason = "too_far_in_future"
	ReasonPast              Reason = "too_far_in_past"
	ReasonOutOfOrder        Reason = "out_of_order"
	ReasonTooOld            Reason = "too_old"
	ReasonOutOfBounds       Reason = "out_of_bounds"
	ReasonDuplicate         Reason = "duplicate_timestamp"
	ReasonHistogram         Reason = "invalid_histogram"
	ReasonHistogramDisabled Reason = "histograms_disabled"
	ReasonExemplar          Reason = "invalid_exemplar"
	ReasonExemplarDropped   Reason = "exemplar_dropped"
	ReasonInvalidSample     Reason = "invalid_sample"
	ReasonExemplarCount     Reason = "too_many_exemplars"
	// ReasonLimit is a new series that the limits on series do not allow.
	ReasonLimit Reason = "limit"
	// ReasonTenantLimit is a new tenant that the limit on tenants does not allow.
	ReasonTenantLimit Reason = "tenant_limit"
	ReasonMixed       Reason = "owners_disagree"
	// Reasons of OTLP only, for which no series comes to be.
	ReasonTemporality Reason = "unsupported_temporality"
	ReasonTranslation Reason = "not_translatable"
	// ReasonTooLarge is what of an OTLP request comes after its translation got too
	// large. Other requests are refused before anything of them is stored.
	ReasonTooLarge Reason = "request_too_large"
	// ReasonOther stands for a reason that this version does not know.
	ReasonOther Reason = "other"
)

// The reasons for which an owner is unavailable.
const (
	ReasonNotReady   Reason = "not_ready"
	ReasonStorage    Reason = "storage_failure"
	ReasonOverloaded Reason = "overloaded"
	ReasonTransport  Reason = "no_answer"
	ReasonDown       Reason = "member_down"
)

// refusalReasons are all reasons of the first list, for initialising metrics and
// for refusing unknown words that arrive from the network.
func refusalReasons() []Reason {
	return []Reason{
		ReasonSymbols, ReasonMissingName, ReasonLabelNameEmpty, ReasonLabelDuplicate, ReasonLabelUTF8,
		ReasonLabelCount, ReasonLabelNameLength, ReasonLabelValueLength, ReasonNoSamples, ReasonMixedTypes,
		ReasonFuture, ReasonPast, ReasonOutOfOrder, ReasonTooOld, ReasonOutOfBounds, ReasonDuplicate,
		ReasonHistogram, ReasonHistogramDisabled, ReasonExemplar, ReasonExemplarDropped, ReasonInvalidSample,
		ReasonExemplarCount, ReasonLimit, ReasonTenantLimit, ReasonMixed, ReasonTemporality, ReasonTranslation,
		ReasonTooLarge, ReasonOther,
	}
}

// Reply is what one owner says of its part of a batch.
type Reply struct {
	// All is the verdict of every series that Faults does not name.
	All Verdict
	// Reason and Detail say why All is not Accepted.
	Reason Reason
	Detail string
	// Faults are the exceptions, by ascending Pos.
	Faults []Fault
}

// Fault is one owner's exception for one series of its part.
type Fault struct {
	// Pos is the position of the series in the owner's part.
	Pos     uint32
	Verdict Verdict
	// Items are the refused items of the series, ascending, when the owner took
	// the others; nil means all. Items count samples first, then histograms, then
	// exemplars. Only a Rejected fault has items.
	Items  []uint32
	Reason Reason
	Detail string
}

func unavailable(reason Reason, detail string) Reply {
	return Reply{All: Unavailable, Reason: reason, Detail: detail}
}

// Counts are numbers of items by kind, as the Written headers have them.
type Counts struct {
	Samples, Histograms, Exemplars int
}

func (c *Counts) add(o Counts) {
	c.Samples += o.Samples
	c.Histograms += o.Histograms
	c.Exemplars += o.Exemplars
}

func (c *Counts) sub(o Counts) {
	c.Samples -= o.Samples
	c.Histograms -= o.Histograms
	c.Exemplars -= o.Exemplars
}

func (c Counts) total() int { return c.Samples + c.Histograms + c.Exemplars }

// Rejection says of one series of a batch what was refused, and why.
type Rejection struct {
	// Series is the position of the series in the request.
	Series int
	// Items counts what was refused of it.
	Items  Counts
	Reason Reason
	// Detail is for a human; it is bounded and quoted where it is shown.
	Detail string
}

// Outcome is what became of a batch.
type Outcome struct {
	// Written counts the items that a quorum of owners has.
	Written Counts
	// Rejected are the series of which something was refused, in no fixed order.
	Rejected []Rejection
	// Unavailable is the number of series that did not get a quorum; a retry may do.
	Unavailable int
	// Hinted counts the samples and histograms that were kept for an owner which missed
	// them, once for each such owner.
	Hinted int
	// Cause says why, without naming members or addresses.
	Cause string
}

// outcome is the decision about one series or item.
type outcome uint8

const (
	undecided outcome = iota
	outcomeAccepted
	outcomeRejected
	// outcomeMixed is a rejection because the owners that answered disagree and the
	// missing ones are known to stay away.
	outcomeMixed
	outcomeUnavailable
)
