// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of damage to a block. Its text is stable.
type Kind string

// What can be wrong with a block.
const (
	IndexUnreadable  Kind = "index-unreadable"  // Header, table of contents, symbols or the table of postings.
	PostingsWrong    Kind = "postings"          // A list that cannot be read, or does not name the series that have the label.
	SeriesUnreadable Kind = "series-unreadable" // An entry of the index with a bad checksum or bad content.
	SeriesOrder      Kind = "series-order"      // Series that are not in order, or twice.
	LabelsInvalid    Kind = "labels"            // Labels of a series that are not in order, twice or empty.
	ChunkOrder       Kind = "chunk-order"       // Chunks of a series that are not in order, or overlap.
	ChunkUnreadable  Kind = "chunk-unreadable"  // A chunk that is missing, cut off, or has a bad checksum or bad content.
	ChunkEncoding    Kind = "chunk-encoding"    // A chunk of a kind that Penstock and Thanos do not read.
	SampleOrder      Kind = "sample-order"      // Samples that are not in order, or not where the index says.
	OutsideOfRange   Kind = "outside-of-range"  // Samples outside of the time in meta.json: queries do not see them.
	StatsWrong       Kind = "stats"             // Counts that differ from those in meta.json.
	FilesMissing     Kind = "files-missing"     // The directory of chunks, or a file in it.
)

// examplesMax bounds what is remembered of each kind: one flipped bit in a table can touch every series.
const examplesMax = 3

// Issue is all damage of one kind in a block.
type Issue struct {
	Kind     Kind     `json:"kind"`
	Count    int      `json:"count"`
	Examples []string `json:"examples"` // The first few.
}

// String returns the issue on one line.
func (i Issue) String() string { return string(i.Kind) + ": " + i.Detail() }

// Detail is String without the kind.
func (i Issue) Detail() string {
	text := strings.Join(i.Examples, "; ")
	if more := i.Count - len(i.Examples); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// issues gathers Issues in the order in which their kinds were first met.
type issues []Issue

func (l *issues) add(kind Kind, format string, args ...any) {
	i := slices.IndexFunc(*l, func(x Issue) bool { return x.Kind == kind })
	if i < 0 {
		i = len(*l)
		*l = append(*l, Issue{Kind: kind})
	}
	issue := &(*l)[i]
	if issue.Count++; len(issue.Examples) < examplesMax {
		issue.Examples = append(issue.Examples, fmt.Sprintf(format, args...))
	}
}
