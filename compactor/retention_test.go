// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

func TestExpired(t *testing.T) {
	const day = 24 * time.Hour
	at := func(n int, end time.Duration, resolution int64, labels map[string]string) bucket.Listed {
		b := uploaded(n, "a", 0, end.Milliseconds()/hour, 0)
		b.Meta.Thanos.Downsample.Resolution = resolution
		if labels != nil {
			b.Meta.Thanos.Labels = labels
		}
		return b
	}
	keeps := map[string]Retention{
		"t":       {Raw: 10 * day, FiveMinutes: 20 * day},
		"default": {Raw: day},
	}
	rules := RetentionRules{
		Now: time.UnixMilli(0).Add(30 * day), DefaultTenant: "default",
		Of: func(tenant string) Retention { return keeps[tenant] },
	}
	foreign := map[string]string{"cluster": "eu"}
	blocks := []bucket.Listed{
		at(0, 20*day, 0, nil),
		at(1, 20*day+2*time.Hour, 0, nil), // It has samples that are to be kept.
		at(2, 10*day, downsample.FiveMinutes, nil),
		at(3, 11*day, downsample.FiveMinutes, nil),
		at(4, day, downsample.OneHour, nil), // For ever.
		at(5, day, 0, map[string]string{"tenant_id": "unknown"}),
		at(6, day, 0, foreign),
		at(7, day, 0, nil),
		at(8, day, 12345, nil),
	}
	blocks[7].Marks.Deletion = &bucket.DeletionMark{}
	expired := func() (found []ulid.ULID) {
		for _, e := range Expired(blocks, rules) {
			found = append(found, e.Block.Meta.ULID)
		}
		return found
	}
	require.Equal(t, []ulid.ULID{blocks[0].Meta.ULID, blocks[2].Meta.ULID}, expired())
	rules.Foreign = true
	require.Equal(t, []ulid.ULID{blocks[0].Meta.ULID, blocks[2].Meta.ULID, blocks[6].Meta.ULID}, expired())
	require.Equal(t, "past the retention of 240h0m0s of tenant t: ends 1970-01-21T00:00:00Z", Expired(blocks, rules)[0].Details())
}

func TestPlanDownsampling(t *testing.T) {
	block := func(n int, resolution, mint, maxt int64, sources ...bucket.Listed) bucket.Listed {
		b := uploaded(n, "a", mint, maxt, 0)
		b.Meta.Thanos.Labels = map[string]string{"tenant_id": "t"}
		b.Meta.Thanos.Downsample.Resolution = resolution
		for _, s := range sources {
			b.Meta.Compaction.Sources = append(b.Meta.Compaction.Sources, s.Meta.ULID)
		}
		return b
	}
	plan := func(blocks ...bucket.Listed) map[ulid.ULID]int64 {
		found := map[ulid.ULID]int64{}
		for _, task := range PlanDownsampling(blocks, rulesAt(0), all) {
			found[task.Block.Meta.ULID] = task.Resolution
		}
		return found
	}
	short, long := block(1, 0, 0, 39), block(2, 0, 48, 96)
	require.Equal(t, map[ulid.ULID]int64{long.Meta.ULID: downsample.FiveMinutes}, plan(short, long))

	fine := block(3, downsample.FiveMinutes, 48, 96, long)
	require.Empty(t, plan(short, long, fine), "it is there, and too short for 1h")
	marked := fine
	marked.Marks.Deletion = &bucket.DeletionMark{}
	require.Len(t, plan(long, marked), 1)

	// The raw blocks have become longer since; what is there of several aggregates together is enough.
	other := block(4, 0, 96, 144)
	longer := block(5, 0, 48, 144, long, other)
	longer.Meta.Compaction.Sources = []ulid.ULID{long.Meta.ULID, other.Meta.ULID}
	fine.Meta.Compaction.Sources = []ulid.ULID{long.Meta.ULID}
	second := block(6, downsample.FiveMinutes, 96, 144)
	second.Meta.Compaction.Sources = []ulid.ULID{other.Meta.ULID}
	require.Empty(t, plan(longer, fine, second))
	require.Equal(t, map[ulid.ULID]int64{longer.Meta.ULID: downsample.FiveMinutes}, plan(longer, fine))

	wide := block(7, downsample.FiveMinutes, 0, 336)
	require.Equal(t, map[ulid.ULID]int64{wide.Meta.ULID: downsample.OneHour}, plan(wide))
	wide.Marks.NoDownsample = &bucket.NoDownsampleMark{}
	require.Empty(t, plan(wide))
	wide.Marks = bucket.Marks{NoCompact: &bucket.NoCompactMark{Reason: bucket.ReasonBroken}}
	require.Empty(t, plan(wide))
}
