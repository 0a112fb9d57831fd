// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlanIsAlignedAndNewestFirst(t *testing.T) {
	losses := []Loss{{ID: "disk", MinTime: math.MinInt64, MaxTime: math.MaxInt64}, {ID: "block", Tenant: "c", MinTime: 110, MaxTime: 210}}
	plan := planUnits(losses, []string{"a", "b"}, nil, 95, 320, 100)
	require.Equal(t, []unit{
		{"a", 300, 320, []string{"disk"}},
		{"b", 300, 320, []string{"disk"}},
		{"a", 200, 300, []string{"disk"}},
		{"b", 200, 300, []string{"disk"}},
		{"c", 200, 210, []string{"block"}},
		{"a", 100, 200, []string{"disk"}},
		{"b", 100, 200, []string{"disk"}},
		{"c", 110, 200, []string{"block"}},
		{"a", 95, 100, []string{"disk"}},
		{"b", 95, 100, []string{"disk"}},
	}, plan)
	require.Empty(t, planUnits(losses, []string{"a"}, nil, 400, 320, 100), "past retention")
	require.Empty(t, planUnits(nil, []string{"a"}, nil, 0, 320, 100))
}

func TestPlanJoinsLossesOfOneRange(t *testing.T) {
	losses := []Loss{{ID: "x", MinTime: 10, MaxTime: 30}, {ID: "y", Tenant: "a", MinTime: 50, MaxTime: 60}, {ID: "x2", MinTime: -5, MaxTime: 12}}
	require.Equal(t, []unit{
		{"a", 0, 60, []string{"x", "x2", "y"}},
		{"a", -5, 0, []string{"x2"}},
	}, planUnits(losses, []string{"a"}, nil, -1000, 1000, 100))
}

func TestPlanSkipsWhatIsDone(t *testing.T) {
	loss := []Loss{{ID: "x", MinTime: 0, MaxTime: 200}}
	whole := done{Tenant: "a", MinTime: 100, MaxTime: 200, Parts: 1, Losses: []string{"x"}}
	require.Equal(t, []unit{{"a", 0, 100, []string{"x"}}}, planUnits(loss, []string{"a"}, []done{whole}, 0, 1000, 100))
	other := whole
	other.Losses = []string{"y"}
	require.Len(t, planUnits(loss, []string{"a"}, []done{other}, 0, 1000, 100), 2, "another loss may be later than the record")
	half := whole
	half.Parts = 2
	require.Len(t, planUnits(loss, []string{"a"}, []done{half}, 0, 1000, 100), 2, "half of it is not all")
	// The other half in quarters: 1 of 2 is 1 and 3 of 4.
	quarters := []done{half, {Tenant: "a", MinTime: 100, MaxTime: 200, Part: 1, Parts: 4, Losses: []string{"x"}}}
	require.Len(t, planUnits(loss, []string{"a"}, quarters, 0, 1000, 100), 2)
	quarters = append(quarters, done{Tenant: "a", MinTime: 100, MaxTime: 200, Part: 3, Parts: 4, Losses: []string{"x"}})
	require.Len(t, planUnits(loss, []string{"a"}, quarters, 0, 1000, 100), 1)
	u := unit{"a", 100, 200, []string{"x"}}
	require.True(t, partDone(quarters, u, 2, 4))
	require.False(t, partDone(quarters, unit{"a", 100, 200, []string{"x", "y"}}, 2, 4), "it vouches for one loss only")
	require.Empty(t, keepOnly([]done{other}, loss))
	require.Len(t, keepOnly(quarters, loss), 3)
}

// TestPlanCoversLosses: whatever the losses are, every point of every loss within reach is in a unit of
// its tenant that names it, and no unit crosses the end of a range.
func TestPlanCoversLosses(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const from, to, width = -300, 1000, 100
	for range 500 {
		var losses []Loss
		for i := range 1 + rnd.IntN(5) {
			mint := rnd.Int64N(2000) - 1000
			losses = append(losses, Loss{ID: string(rune('a' + i)), Tenant: []string{"", "t", "u"}[rnd.IntN(3)], MinTime: mint, MaxTime: mint + 1 + rnd.Int64N(500)})
		}
		plan := planUnits(losses, []string{"t", "u"}, nil, from, to, width)
		for _, u := range plan {
			require.Equal(t, floorDiv(u.mint, width), floorDiv(u.maxt-1, width), "%+v", u)
			require.GreaterOrEqual(t, u.mint, int64(from))
			require.LessOrEqual(t, u.maxt, int64(to))
		}
		for _, l := range losses {
			for _, tenant := range []string{"t", "u"} {
				if l.Tenant != "" && l.Tenant != tenant {
					continue
				}
				for at := max(l.MinTime, from); at < min(l.MaxTime, to); at += 7 {
					n := 0
					for _, u := range plan {
						if u.tenant == tenant && u.mint <= at && at < u.maxt {
							n++
							require.Contains(t, u.losses, l.ID)
						}
					}
					require.Equal(t, 1, n, "time %d of %+v in %+v", at, l, plan)
				}
			}
		}
	}
}
