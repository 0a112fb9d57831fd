// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// TestEveryCallFailsOnceWhileDownsampling is TestEveryCallFailsOnce for the two blocks of aggregates that a long block becomes.
func TestEveryCallFailsOnceWhileDownsampling(t *testing.T) {
	template := newFixture(t)
	// With blocks of half an hour the longest are of 84h, and all ages are a quarter of what they are.
	want := content{"0": template.minutely(0, 84*60, 1)}
	template.add(member("a"), want)
	template.now = template.now.Add(200 * time.Hour)
	halfHours := func(f *fixture) func(*Config) {
		return func(c *Config) {
			c.BlockDuration = 30 * time.Minute
			c.Downsampler = downsample.New(nil, nil, func() time.Time { return f.now })
		}
	}

	reference := template.clone()
	reference.faulty.FailNth(0, 0)
	require.NoError(t, reference.compactor(halfHours(reference)).Once(t.Context()))
	calls := reference.faulty.Calls()
	t.Log("calls:", calls)
	reference.finish(halfHours(reference))
	shape := reference.shape()
	require.Equal(t, []int64{0, downsample.FiveMinutes, downsample.OneHour}, reference.resolutions(), shape)

	faults := []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate}
	for n := 1; n <= calls; n++ {
		for i, fault := range faults {
			if !*allFaults && n%len(faults) != i {
				continue
			}
			f := template.clone()
			f.faulty.FailNth(n, fault)
			comp := f.compactor(halfHours(f))
			_ = comp.Once(t.Context())
			requireEmptyDir(t, comp.cfg.Dir)
			f.finish(halfHours(f))
			require.Equal(t, shape, f.shape(), "call %d, fault %d", n, fault)
			require.Equal(t, want, f.read(f.raw()), "call %d, fault %d", n, fault)
		}
	}
}

// resolutions are those of the blocks that stay, once each.
func (f *fixture) resolutions() (found []int64) {
	for _, b := range f.live() {
		found = append(found, b.Meta.Thanos.Downsample.Resolution)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// raw are the blocks of raw samples that stay.
func (f *fixture) raw() []bucket.Listed {
	return slices.DeleteFunc(f.live(), func(b bucket.Listed) bool { return b.Meta.Thanos.Downsample.Resolution > 0 })
}
