// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"

	"github.com/prometheus/prometheus/util/annotations"
)

// Annotations of the engine learn the text of their query, for the position in it, when they are shown: a write to what several
// may share. So those that are shared or kept are notes, which say what the annotation would have said.
type note struct {
	text string
	kind error // annotations.PromQLInfo or PromQLWarning.
}

func (n *note) Error() string { return n.text }

// Unwrap lets the API tell infos from warnings.
func (n *note) Unwrap() error { return n.kind }

// freeze returns annotations as notes. Those that are not the engine's, as that an answer is partial, stay what they are. The annotations must
// not be shared with anybody.
func freeze(all annotations.Annotations, query string) annotations.Annotations {
	if len(all) == 0 {
		return nil
	}
	out := make(annotations.Annotations, len(all))
	for key, err := range all {
		out[key] = err
		if kind := kindOf(err); kind != nil {
			(annotations.Annotations{key: err}).AsStrings(query, 0, 0)
			out[key] = &note{err.Error(), kind}
		}
	}
	return out
}

// lasting tells whether an answer with these annotations may be kept: whether they are the engine's, and say of a
// part of a range what they say of the part within the whole. One counts samples.
func lasting(all annotations.Annotations) bool {
	for _, err := range all {
		if kindOf(err) == nil || errors.Is(err, annotations.HistogramQuantileForcedMonotonicityInfo) {
			return false
		}
	}
	return true
}

func kindOf(err error) error {
	for _, kind := range []error{annotations.PromQLInfo, annotations.PromQLWarning} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}
