// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// TestRejections combines what three owners say of one series with a good series in
// the same request.
func TestRejections(t *testing.T) {
	t.Parallel()
	f := func(status int, written string, hints int, verdicts ...Verdict) {
		t.Helper()
		c := newCluster(t, 3, 3)
		for i, v := range verdicts {
			c.owners[i].verdict = func(series string) Verdict {
				if series == "bad" {
					return v
				}
				return Accepted
			}
		}
		w := c.send("good", "bad")
		require.Equal(t, status, w.Code, "%v: %s", verdicts, w.Body)
		require.Equal(t, written, w.Header().Get(headerSamplesWritten), verdicts)
		if status == http.StatusBadRequest {
			require.Contains(t, w.Body.String(), "because bad")
			require.Contains(t, w.Body.String(), "1 of 2 series")
		}
		c.dist.Close()
		require.Equal(t, 3, c.copies("good"))
		require.Equal(t, hints, c.hinted(), verdicts)
	}
	f(204, "4", 0, Accepted, Accepted, Accepted)
	f(204, "4", 0, Accepted, Rejected, Accepted)
	f(400, "2", 0, Rejected, Accepted, Rejected)
	f(400, "2", 0, Rejected, Rejected, Rejected)
	f(503, "2", 0, Accepted, Rejected, Unavailable)
	f(503, "2", 0, Unavailable, Unavailable, Accepted)
	f(204, "4", 1, Unavailable, Accepted, Accepted)
}

// TestMixedVerdicts has two owners that disagree. While the third is merely slow to
// be known as dead that is a 503; once it is known, a retry cannot change anything.
func TestMixedVerdicts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.owners[0].verdict = func(string) Verdict { return Rejected }
	c.servers[2].Close()
	var codes []int
	for range circuitFailures {
		codes = append(codes, c.send("x").Code)
	}
	require.Equal(t, []int{503, 503, 400}, codes)
	require.Contains(t, c.send("x").Body.String(), "owners disagree")
	require.Zero(t, c.hinted())
}

// TestPartialSeries counts samples exactly when owners refuse different samples of one
// series: each sample has a quorum or has not.
func TestPartialSeries(t *testing.T) {
	t.Parallel()
	f := func(status int, written string, refused ...[]uint32) {
		t.Helper()
		c := newCluster(t, 3, 3)
		for i, items := range refused {
			c.owners[i].items = func(string) []uint32 { return items }
		}
		w := c.send("x")
		require.Equal(t, status, w.Code, "%v: %s", refused, w.Body)
		require.Equal(t, written, w.Header().Get(headerSamplesWritten), refused)
		require.Zero(t, c.hinted())
	}
	f(204, "2", []uint32{0}, nil, nil)
	f(400, "1", []uint32{0}, []uint32{0}, nil)
	f(204, "2", []uint32{0}, []uint32{1}, nil)
	f(400, "1", []uint32{0}, []uint32{0, 1}, nil)
	f(400, "0", []uint32{0, 1}, []uint32{0, 1}, nil)
}

// TestPartialSeriesWithAMemberDown still hints the series: the accepted sample of it
// is promised.
func TestPartialSeriesWithAMemberDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.kill(2)
	for _, o := range c.owners {
		o.items = func(string) []uint32 { return []uint32{0} }
	}
	w := c.send("x")
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, "1", w.Header().Get(headerSamplesWritten))
	require.Equal(t, []string{"x"}, c.hints.series(t, "m2"))
}

func TestPanicInStorage(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.owners[0].panics = true
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
}

// TestLostHint is counted, and the ack goes.
func TestLostHint(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.kill(1)
	c.hints.broken = http.ErrBodyNotAllowed
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
}

// TestLeavingAndJoining members: the first is not asked any more, the second says
// itself whether it is ready.
func TestLeavingAndJoining(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	c.setMembers(func(i int) (ring.State, bool) {
		return []ring.State{ring.Active, ring.Leaving, ring.Joining}[i], true
	})
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Zero(t, c.owners[1].calls.Load())
	require.Equal(t, int64(1), c.owners[2].calls.Load())
	require.Equal(t, []string{"x"}, c.hints.series(t, "m1"))
}
