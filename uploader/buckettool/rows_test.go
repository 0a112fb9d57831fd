// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

func TestFilter(t *testing.T) {
	r := newRig(t)
	a := r.put(blockSpec{labels: map[string]string{"tenant_id": "a", "receive_replica": "m1"}})
	b := r.put(blockSpec{from: 2, labels: map[string]string{"tenant_id": "b"}})
	c := r.put(blockSpec{from: 4, labels: map[string]string{"cluster": "x"}, resolution: 300_000})
	at := func(h int64) time.Time { return time.UnixMilli(t0 + h*hour) }
	l := r.listing()
	for name, tc := range map[string]struct {
		filter buckettool.Filter
		want   []ulid.ULID
	}{
		"all":              {buckettool.Filter{}, []ulid.ULID{a, b, c}},
		"ids":              {buckettool.Filter{IDs: []ulid.ULID{c, a}}, []ulid.ULID{a, c}},
		"label":            {buckettool.Filter{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "receive_replica", "m1")}}, []ulid.ULID{a}},
		"no label":         {buckettool.Filter{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "receive_replica", "")}}, []ulid.ULID{b, c}},
		"tenant":           {buckettool.Filter{Tenants: []string{"a", "b"}}, []ulid.ULID{a, b}},
		"default tenant":   {buckettool.Filter{Tenants: []string{"d"}, DefaultTenant: "d"}, []ulid.ULID{c}},
		"resolution":       {buckettool.Filter{Resolutions: []int64{0}}, []ulid.ULID{a, b}},
		"from is in":       {buckettool.Filter{From: at(3)}, []ulid.ULID{b, c}},
		"end is exclusive": {buckettool.Filter{From: at(2)}, []ulid.ULID{b, c}},
		"until":            {buckettool.Filter{Until: at(2)}, []ulid.ULID{a}},
		"until is in":      {buckettool.Filter{Until: at(3)}, []ulid.ULID{a, b}},
	} {
		var got []ulid.ULID
		for _, b := range tc.filter.Select(l.Blocks) {
			got = append(got, b.Meta.ULID)
		}
		require.Equal(t, tc.want, got, name)
	}
	require.ErrorContains(t, buckettool.Filter{IDs: []ulid.ULID{ulid.Make()}}.CheckIDs(l), "is not in the bucket")
	require.NoError(t, buckettool.Filter{IDs: []ulid.ULID{a}}.CheckIDs(l))
}

func TestSort(t *testing.T) {
	r := newRig(t)
	a := r.put(blockSpec{from: 4, series: 4, labels: map[string]string{"tenant_id": "z"}})
	b := r.put(blockSpec{from: 2, series: 2, until: 10})
	c := r.put(blockSpec{from: 0, series: 3})
	blocks := r.listing().Blocks
	for order, want := range map[string][]ulid.ULID{
		"ulid": {a, b, c}, "from": {c, b, a}, "until": {c, a, b}, "series": {a, c, b}, "samples": {b, a, c}, "labels": {c, b, a},
	} {
		buckettool.Sort(blocks, order)
		var got []ulid.ULID
		for _, b := range blocks {
			got = append(got, b.Meta.ULID)
		}
		require.Equal(t, want, got, order)
	}
	for _, order := range buckettool.Orders() {
		slices.Reverse(blocks)
		buckettool.Sort(blocks, order)
		require.Len(t, blocks, 3)
	}
}

// TestRowJSON holds the shape that scripts rely on.
func TestRowJSON(t *testing.T) {
	r := newRig(t)
	id := r.put(blockSpec{})
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewNoCompactMark(id, now, "manual", "why")))
	l := r.listing()
	l.Blocks[0].Bytes = 7
	got, err := json.Marshal(buckettool.RowOf(l.Blocks[0], "d"))
	require.NoError(t, err)
	require.JSONEq(t, `{"ulid":"`+id.String()+`","min_time":7200000000,"max_time":7207200000,"level":1,"resolution":0,"tenant":"t",
		"labels":{"tenant_id":"t"},"source":"test","bytes":7,"series":4,"chunks":4,"samples":480,"sources":1,"uploaded":"1970-05-06T00:00:00Z",
		"marks":[{"kind":"no-compact","time":"1970-05-06T00:00:00Z","reason":"manual","details":"why"}]}`, string(got))
}
