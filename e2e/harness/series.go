// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"time"
)

// LabelSets are the label sets of an answer, each as often as it was in it.
type LabelSets struct {
	All    []map[string]string
	counts map[string]int
}

func newLabelSets(all []map[string]string) LabelSets {
	sets := LabelSets{All: all, counts: make(map[string]int, len(all))}
	for _, labels := range all {
		sets.counts[labelKey(labels)]++
	}
	return sets
}

// SeriesLabels asks for every series that has samples between two times. The answer must be complete.
func (a API) SeriesLabels(from, to time.Time, opts Options) (LabelSets, error) {
	params := opts.values()
	params.Set("match[]", `{__name__!=""}`)
	params.Set("start", unixSeconds(from))
	params.Set("end", unixSeconds(to))
	resp, err := a.Call("/api/v1/series", params)
	if err != nil {
		return LabelSets{}, err
	}
	if err := resp.Complete(); err != nil {
		return LabelSets{}, fmt.Errorf("%s: %w", a.Name, err)
	}
	var all []map[string]string
	if err := json.Unmarshal(resp.Data, &all); err != nil {
		return LabelSets{}, err
	}
	return newLabelSets(all), nil
}

// Times is nil when the label set is there exactly n times.
func (s LabelSets) Times(labels map[string]string, n int) error {
	key := labelKey(labels)
	if s.counts[key] != n {
		return fmt.Errorf("series %s is there %d times, want %d", key, s.counts[key], n)
	}
	return nil
}

// Without takes one label away from every set, which can make several of them the same.
func (s LabelSets) Without(label string) LabelSets {
	all := make([]map[string]string, 0, len(s.All))
	for _, labels := range s.All {
		labels = maps.Clone(labels)
		delete(labels, label)
		all = append(all, labels)
	}
	return newLabelSets(all)
}

// Exemplars asks for all exemplars of a selector, each as a text that holds its series, its labels, its value and its
// time. Labels of the series that are named in drop are left out.
func (a API) Exemplars(selector string, from, to time.Time, opts Options, drop ...string) (map[string]bool, error) {
	params := opts.values()
	params.Set("query", selector)
	params.Set("start", unixSeconds(from))
	params.Set("end", unixSeconds(to))
	resp, err := a.Call("/api/v1/query_exemplars", params)
	if err != nil {
		return nil, err
	}
	if err := resp.Complete(); err != nil {
		return nil, fmt.Errorf("%s: %w", a.Name, err)
	}
	var series []struct {
		Labels    map[string]string `json:"seriesLabels"`
		Exemplars []struct {
			Labels    map[string]string `json:"labels"`
			Value     string            `json:"value"`
			Timestamp json.Number       `json:"timestamp"`
		} `json:"exemplars"`
	}
	if err := json.Unmarshal(resp.Data, &series); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, s := range series {
		for _, label := range drop {
			delete(s.Labels, label)
		}
		for _, e := range s.Exemplars {
			out[fmt.Sprintf("%s %s %s %s", labelKey(s.Labels), labelKey(e.Labels), e.Value, e.Timestamp)] = true
		}
	}
	return out, nil
}

// Metadata is the type and the help text that the API has for a metric, or "" for what it does not know.
func (a API) Metadata(metric string) (typ, help string, err error) {
	resp, err := a.Call("/api/v1/metadata", url.Values{"metric": {metric}})
	if err != nil {
		return "", "", err
	}
	if err := resp.Complete(); err != nil {
		return "", "", fmt.Errorf("%s: %w", a.Name, err)
	}
	var all map[string][]struct{ Type, Help string }
	if err := json.Unmarshal(resp.Data, &all); err != nil {
		return "", "", err
	}
	if len(all[metric]) == 0 {
		return "", "", nil
	}
	return all[metric][0].Type, all[metric][0].Help, nil
}

func unixSeconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}
