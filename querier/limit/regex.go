// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"strings"

	"github.com/prometheus/prometheus/util/strutil"
)

const (
	// complexFactor is how often the bytes of a regular expression count that is more than a list of words: a list is looked up,
	// the others are tried, on each value of a label, in time that grows with their length.
	complexFactor = 4
	// groupBytes is what each group that captures counts on top: Go's regexp makes room for what all groups capture in each state,
	// so that 60 KB of groups take 2 GB.
	groupBytes = 256
)

// regexSize is how many bytes a regular expression counts.
func regexSize(re string) int64 {
	size, groups, complicated := int64(len(re)), int64(0), false
	for i := 0; i < len(re); i++ {
		switch re[i] {
		case '\\':
			i++ // What follows is itself, or a class, which is cheap.
		case '(':
			if rest := re[i+1:]; !strings.HasPrefix(rest, "?") || strings.HasPrefix(rest, "?P<") || strings.HasPrefix(rest, "?<") {
				groups++
			}
		case '.', '*', '+', '?', '[', '{':
			complicated = true
		}
	}
	if complicated {
		size *= complexFactor
	}
	return size + groups*groupBytes
}

// quotedRegexSize is regexSize of a string as it is in a query.
func quotedRegexSize(quoted string) int64 {
	re, err := strutil.Unquote(quoted)
	if err != nil {
		re = quoted // The parser says what is wrong.
	}
	return regexSize(re)
}
