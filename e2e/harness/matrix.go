// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxDifferences are shown when two exports are not the same.
const maxDifferences = 5

// Matrix is every sample of every series that a selector matched, as the API printed it: floats are printed with all
// their digits, so equal text is equal bits (but for NaNs, which are all one). The key is the labels.
type Matrix map[string]Series

// Series is one series of a Matrix.
type Series struct {
	Labels     map[string]string
	Floats     []string // "[timestamp,value]"
	Histograms []string // "[timestamp,{...}]"
}

// Export reads the raw samples of a selector in (from, to], which must be a complete answer.
func (a API) Export(selector string, from, to time.Time, opts Options) (Matrix, error) {
	// Milliseconds, so that the range starts where it should.
	resp, err := a.Query(fmt.Sprintf("%s[%dms]", selector, to.Sub(from).Milliseconds()), to, opts)
	if err != nil {
		return nil, err
	}
	if opts.Partial {
		resp.Warnings = nil
	}
	if err := resp.Complete(); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	return parseMatrix(resp.Data)
}

func parseMatrix(data json.RawMessage) (Matrix, error) {
	var parsed struct {
		Result []struct {
			Metric     map[string]string `json:"metric"`
			Values     []json.RawMessage `json:"values"`
			Histograms []json.RawMessage `json:"histograms"`
		} `json:"result"`
	}
	if err := json.Unmarshal(data, &parsed); err != nil {
		return nil, err
	}
	out := make(Matrix, len(parsed.Result))
	for _, s := range parsed.Result {
		key := labelKey(s.Metric)
		if _, ok := out[key]; ok {
			return nil, fmt.Errorf("series %s is in the answer twice", key)
		}
		out[key] = Series{Labels: s.Metric, Floats: texts(s.Values), Histograms: texts(s.Histograms)}
	}
	return out, nil
}

func texts(raw []json.RawMessage) []string {
	out := make([]string, len(raw))
	for i, r := range raw {
		out[i] = string(r)
	}
	return out
}

// labelKey writes labels in a fixed order.
func labelKey(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

// With adds labels to every series: those that a server adds to what it sends and not to what it keeps.
func (m Matrix) With(labels map[string]string) Matrix {
	out := make(Matrix, len(m))
	for _, s := range m {
		all := maps.Clone(s.Labels)
		maps.Copy(all, labels)
		out[labelKey(all)] = Series{Labels: all, Floats: s.Floats, Histograms: s.Histograms}
	}
	return out
}

// Samples is the number of samples of all series.
func (m Matrix) Samples() int {
	n := 0
	for _, s := range m {
		n += len(s.Floats) + len(s.Histograms)
	}
	return n
}

// Equal is nil when got has the same series with the same samples as m, and else names the first differences.
func (m Matrix) Equal(got Matrix) error {
	var diffs []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		g, ok := got[key]
		switch {
		case !ok:
			diffs = append(diffs, "missing: "+key)
		default:
			if d := difference(m[key].Floats, g.Floats); d != "" {
				diffs = append(diffs, key+" "+d)
			}
			if d := difference(m[key].Histograms, g.Histograms); d != "" {
				diffs = append(diffs, key+" histograms: "+d)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := m[key]; !ok {
			diffs = append(diffs, "not wanted: "+key)
		}
	}
	if len(diffs) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d series differ: %s", len(diffs), len(m), strings.Join(diffs[:min(len(diffs), maxDifferences)], "; "))
}

// difference describes the first place where two lists of samples differ.
func difference(want, got []string) string {
	for i := range want {
		if i == len(got) || want[i] != got[i] {
			found := "nothing"
			if i < len(got) {
				found = got[i]
			}
			return fmt.Sprintf("has %d samples instead of %d, the first other at %d: want %.200s, got %.200s", len(got), len(want), i, want[i], found)
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("has %d samples instead of %d, one too many: %.200s", len(got), len(want), got[len(want)])
	}
	return ""
}
