// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// quorumRequest has what three members can disagree about: a sample, a histogram, two
// exemplars, and a series that is too old for those that have newer samples.
func quorumRequest(now int64) []prompb.TimeSeries {
	with := seriesV1(now, 1, "__name__", "m")
	with.Exemplars = []prompb.Exemplar{traceAt("b", now, 2), traceAt("a", now, 1)}
	return []prompb.TimeSeries{
		with,
		{Labels: labelsV1("__name__", "h"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, intHistogram())}},
	}
}

// TestSpecQuorum: two of three are enough, and the third gets what it missed. Each way
// ends with three equal members.
func TestSpecQuorum(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	series := quorumRequest(now)
	allOfIt := func(t *testing.T, c *storeCluster) {
		t.Helper()
		for i, m := range c.members {
			require.Len(t, m.store.dump(t), 2, i)
			require.Equal(t, []string{"a", "b"}, m.store.traces(t)[`{__name__="m"}`], i)
		}
	}
	f := func(name string, lack func(*storeCluster), back func(*storeCluster)) {
		t.Run(name, func(t *testing.T) {
			c := newStoreCluster(t, 3, 3)
			lack(c)
			for range 3 { // What two owners have already counts as written again.
				requireSpec(t, specAnswer{204, "", "1 1 2"}, post(t, c.members[0].handler, typeV2, encodeV2(t, toV2(series))))
				requireSpec(t, specAnswer{204, "", ""}, post(t, c.members[1].handler, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
			}
			back(c)
			requireSpec(t, specAnswer{204, "", "1 1 2"}, post(t, c.members[2].handler, typeV2, encodeV2(t, toV2(series))))
			c.replay()
			allOfIt(t, c)
		})
	}
	everyone := func(c *storeCluster) { c.setAlive(func(int) bool { return true }) }
	f("all", func(*storeCluster) {}, func(*storeCluster) {})
	f("one dead", func(c *storeCluster) { c.setAlive(func(i int) bool { return i != 2 }) }, everyone)
	f("one leaving", func(c *storeCluster) {
		c.setMembers(func(i int) (ring.State, bool) {
			return map[bool]ring.State{true: ring.Leaving, false: ring.Active}[i == 2], true
		})
	}, everyone)
	f("one starting", func(c *storeCluster) { c.members[2].ready = false }, func(c *storeCluster) { c.members[2].ready = true })
	// This member's own storage is the one that lacks.
	f("the coordinator starting", func(c *storeCluster) { c.members[0].ready = false }, func(c *storeCluster) { c.members[0].ready = true })
}

// TestSpecUnavailable: without a quorum nothing is promised, and the same request later
// is written as if it came for the first time.
func TestSpecUnavailable(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	series := quorumRequest(now)
	f := func(name, cause string, lack func(*storeCluster), back func(*storeCluster)) {
		t.Run(name, func(t *testing.T) {
			c := newStoreCluster(t, 3, 3)
			lack(c)
			text := fmt.Sprintf("2 of 2 series not written: %s; try again\n", cause)
			requireSpec(t, specAnswer{503, text, noneWritten}, post(t, c.members[0].handler, typeV2, encodeV2(t, toV2(series))))
			requireSpec(t, specAnswer{503, text, ""}, post(t, c.members[0].handler, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
			for i := range c.members {
				require.Zero(t, c.hints.count(memberName(i)))
			}
			back(c)
			requireSpec(t, specAnswer{204, "", "1 1 2"}, post(t, c.members[0].handler, typeV2, encodeV2(t, toV2(series))))
			for i, m := range c.members {
				require.Equal(t, []string{"a", "b"}, m.store.traces(t)[`{__name__="m"}`], i)
			}
		})
	}
	everyone := func(c *storeCluster) { c.setAlive(func(int) bool { return true }) }
	f("two dead", "have 1 of 2 members", func(c *storeCluster) { c.setAlive(func(i int) bool { return i == 0 }) }, everyone)
	f("one dead, the coordinator starting", "storage is not ready", func(c *storeCluster) {
		c.setAlive(func(i int) bool { return i != 2 })
		c.members[0].ready = false
	}, func(c *storeCluster) {
		everyone(c)
		c.members[0].ready = true
	})
	f("one dead, one starting", "an owner is unavailable", func(c *storeCluster) {
		c.setAlive(func(i int) bool { return i != 2 })
		c.members[1].ready = false
	}, func(c *storeCluster) {
		everyone(c)
		c.members[1].ready = true
	})
}

// TestSpecOwnersDisagree: two of three know a newer sample of a series, or hold another
// exemplar of its time. What two refuse is refused; what two take is written.
func TestSpecOwnersDisagree(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	ahead := func(owners ...int) *storeCluster {
		c := newStoreCluster(t, 3, 3)
		for _, i := range owners {
			series := seriesV1(now, 5, "__name__", "m")
			series.Exemplars = []prompb.Exemplar{traceAt("z", now, 9)}
			app := oneNode(t, c.members[i].store)
			require.Equal(t, 204, post(t, app, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}})).Code)
		}
		return c
	}
	body := encodeV2(t, toV2(quorumRequest(now)))
	requireSpec(t, specAnswer{204, "", "1 1 2"}, post(t, ahead(1).members[0].handler, typeV2, body))
	refused := refusedBody(2, Counts{Samples: 1}, ReasonDuplicate, fmt.Sprintf("m{}: timestamp %d: duplicate timestamp, different value", now))
	requireSpec(t, specAnswer{400, refused, "0 1 0"}, post(t, ahead(1, 2).members[0].handler, typeV2, body))
	requireSpec(t, specAnswer{400, refused, "0 1 0"}, post(t, ahead(0, 1, 2).members[0].handler, typeV2, body))
}

// TestSpecLimitOfTenants is no reason to retry.
func TestSpecLimitOfTenants(t *testing.T) {
	t.Parallel()
	store := &brokenStore{open: fmt.Errorf("open: %w", rejectedError{fmt.Errorf("tenant %q refused: limit 100", "x")})}
	_, v2 := specBodies(t, "m")
	requireSpec(t, specAnswer{400, refusedBody(1, Counts{Samples: 1}, ReasonTenantLimit, `m{}: open: tenant "x" refused: limit 100`), noneWritten},
		post(t, oneNode(t, store), typeV2, v2))
}

// publicError is an error of storage with a text for senders.
type publicError string

func (e publicError) Error() string       { return string(e) }
func (e publicError) Unavailable() string { return string(e) }

// TestSpecBrokenStorage tells senders that, and not what is broken.
func TestSpecBrokenStorage(t *testing.T) {
	t.Parallel()
	_, v2 := specBodies(t, "m")
	want := specAnswer{503, "1 of 1 series not written: storage is unavailable; try again\n", noneWritten}
	secret := fmt.Errorf("write /var/lib/penstock/tsdb/x/wal/0001: no space left on device")
	requireSpec(t, want, post(t, oneNode(t, &brokenStore{open: secret}), typeV2, v2))
	low := specAnswer{503, "1 of 1 series not written: storage is low on disk space; try again\n", noneWritten}
	requireSpec(t, low, post(t, oneNode(t, &brokenStore{open: fmt.Errorf("%w: %w", publicError("storage is low on disk space"), secret)}), typeV2, v2))
	requireSpec(t, want, post(t, oneNode(t, &brokenStore{AppenderSource: openStore(t), commit: secret}), typeV2, v2))
	requireSpec(t, want, post(t, oneNode(t, &brokenStore{AppenderSource: openStore(t), appendErr: func(string) error { return secret }}), typeV2, v2))
}
