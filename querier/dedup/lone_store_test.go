// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	fanout "github.com/penstock-io/penstock/querier"
)

// What the scenes of some neighbouring seeds are stored in: a TSDB for the lone Prometheus,
// and for the replicas three members of a cluster with a TSDB each, of which two are asked
// over HTTP. Each sample is on one member at least, or on a quorum of two, and then
// one of the members may be away.

// scenesTogether is how many seeds share a set of TSDBs, which take longer to open than to fill.
const scenesTogether = 25

const loneTenant = "t"

// site is one such set.
type site struct {
	t        testing.TB
	lone     *tsdb.DB
	members  []*siteMember
	fanout   *fanout.Querier
	group    uint64 // of seeds; what the site is like depends on it alone
	minority bool   // samples are on one member at least, and not on two
}

// siteMember is one member: a querier.Local.
type siteMember struct {
	*tsdb.DB
	cut int64 // what is older is in a block when it is asked
}

func (m *siteMember) Querier(_ string, mint, maxt int64) (storage.Querier, error) {
	return m.DB.Querier(mint, maxt)
}

func (m *siteMember) ChunkQuerier(_ string, mint, maxt int64) (storage.ChunkQuerier, error) {
	return m.DB.ChunkQuerier(mint, maxt)
}

func (m *siteMember) ExemplarQuerier(ctx context.Context, _ string) (storage.ExemplarQuerier, error) {
	return m.DB.ExemplarQuerier(ctx)
}

func (m *siteMember) Newest(string) int64 {
	newest := m.Head().MaxTime()
	for _, b := range m.Blocks() {
		newest = max(newest, b.Meta().MaxTime)
	}
	return newest
}

func (*siteMember) LocalStart(string) int64 { return math.MinInt64 }

// BlockSets implements querier.Local: it has no blocks.
func (*siteMember) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}
func (*siteMember) Ready() bool { return true }

func newSite(t testing.TB, group uint64) *site {
	t.Helper()
	rng := rand.New(rand.NewPCG(group, 11))
	open := func() *tsdb.DB {
		opts := tsdb.DefaultOptions()
		opts.OutOfOrderTimeWindow = (4 * time.Hour).Milliseconds()
		opts.StripeSize = 512
		opts.WALSegmentSize = 1 << 20
		db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, opts, nil)
		require.NoError(t, err)
		db.DisableCompactions()
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return db
	}
	s := &site{t: t, group: group, lone: open(), minority: rng.IntN(2) == 0}
	ms := fanout.Membership{RF: 3}
	for n := range 3 {
		m := &siteMember{DB: open(), cut: []int64{0, 0, 600_000, 1_234_567}[rng.IntN(4)]}
		s.members = append(s.members, m)
		member := fanout.Member{Name: strconv.Itoa(n), Self: n == 0, Alive: true, Serving: true}
		if n > 0 {
			h := fanout.NewPeerHandler(fanout.PeerHandlerConfig{
				Local: m, Tenant: func(*http.Request) (string, error) { return loneTenant, nil },
			}, slog.New(slog.DiscardHandler), nil)
			server := httptest.NewServer(h)
			t.Cleanup(server.Close)
			member.URL = server.URL
		}
		ms.Members = append(ms.Members, member)
	}
	if away := rng.IntN(6); !s.minority && away > 0 && away < 3 {
		ms.Members[away].Alive = false
	}
	s.fanout = fanout.New(fanout.Config{
		Local: s.members[0], Members: func() fanout.Membership { return ms },
	}, slog.New(slog.DiscardHandler), nil)
	return s
}

// stored is one sample of one series.
type stored struct {
	lset labels.Labels
	t    int64
	f    float64
	h    *histogram.Histogram
	fh   *histogram.FloatHistogram
	late bool
}

// store stores what is in time. The samples that are late come with storeLate, after all
// scenes have been asked once.
func (s *site) store(sc *scene) {
	for n := range sc.targets {
		for _, series := range sc.series(&sc.lone, n) {
			s.append(s.lone, series)
		}
	}
	s.each(sc, func(series []stored, where [][]bool, after []bool) {
		for m := range s.members {
			var first, later []stored
			for i, p := range series {
				switch {
				case p.late || !where[i][m]:
				case after[i]:
					later = append(later, p)
				default:
					first = append(first, p)
				}
			}
			s.append(s.members[m].DB, first)
			s.append(s.members[m].DB, later) // Out of order, as from a hint.
		}
	})
}

func (s *site) storeLate(sc *scene) {
	s.each(sc, func(series []stored, where [][]bool, _ []bool) {
		for m := range s.members {
			var late []stored
			for i, p := range series {
				if p.late && where[i][m] {
					late = append(late, p)
				}
			}
			s.append(s.members[m].DB, late)
		}
	})
}

// each calls f for each series of each replica, with the members that hold each sample, and
// whether they get it after the others.
func (s *site) each(sc *scene, f func(series []stored, where [][]bool, after []bool)) {
	rng := rand.New(rand.NewPCG(sc.seed, 13))
	for i := range sc.servers {
		for n := range sc.targets {
			for _, series := range sc.series(&sc.servers[i], n) {
				var (
					where [][]bool
					after []bool
				)
				for len(where) < len(series) {
					held, run, late := s.holders(rng), 1+rng.IntN(40), rng.IntN(5) == 0
					for range run {
						where, after = append(where, held), append(after, late)
					}
				}
				f(series, where, after)
			}
		}
	}
}

// holders are the members that hold the next few samples of a series.
func (s *site) holders(rng *rand.Rand) []bool {
	held := []bool{true, true, true}
	switch {
	case s.minority:
		for m := range held {
			held[m] = rng.IntN(2) == 0
		}
		held[rng.IntN(3)] = true
	case rng.IntN(2) == 0:
		held[rng.IntN(3)] = false
	}
	return held
}

func (s *site) append(db *tsdb.DB, series []stored) {
	app := db.AppenderV2(context.Background())
	var ref storage.SeriesRef
	for _, p := range series {
		var err error
		ref, err = app.Append(ref, p.lset, 0, p.t, p.f, p.h, p.fh, storage.AOptions{})
		require.NoError(s.t, err, "%s at %d", p.lset, p.t)
	}
	require.NoError(s.t, app.Commit())
}

// cut makes blocks of the older samples of some members.
func (s *site) cut() {
	for _, m := range s.members {
		if m.cut > 0 {
			require.NoError(s.t, m.CompactHead(tsdb.NewRangeHead(m.Head(), m.Head().MinTime(), m.cut-1)))
		}
	}
}

// name is what the series of a scene are called.
func (s *scene) name() string {
	switch s.kind {
	case counters:
		return "requests_total"
	case gauges:
		return "load"
	case classic:
		return "latency_bucket"
	default:
		return "latency"
	}
}

func (s *scene) selector() string {
	return s.name() + `{seed="` + strconv.FormatUint(s.seed, 10) + `"}`
}

// classicBounds and their shares are what all histograms are like: of what is counted a tenth
// is in the first bucket, and so on.
var (
	classicBounds = []string{"1", "2", "4", "+Inf"}
	shares        = []float64{0.1, 0.5, 0.9, 1}
)

// series is what a server stores of a target.
func (s *scene) series(v *server, n int) [][]stored {
	base := labels.NewBuilder(labels.FromStrings("instance", strconv.Itoa(n), "seed", strconv.FormatUint(s.seed, 10)))
	base.Set("__name__", s.name())
	if v != &s.lone {
		base.Set("replica", v.name)
	}
	all := make([][]stored, 1)
	if s.kind == classic {
		all = make([][]stored, len(shares))
	}
	for _, sc := range s.scrapes(v, n) {
		for i := range all {
			if s.kind == classic {
				base.Set("le", classicBounds[i])
			}
			p := stored{lset: base.Labels(), t: sc.t, late: sc.late, f: staleNaN}
			if !sc.marker {
				s.fill(&p, &s.targets[n], sc.at, shares[i])
			}
			all[i] = append(all[i], p)
		}
	}
	return all
}

func (s *scene) fill(p *stored, tg *target, at int64, share float64) {
	switch s.kind {
	case counters:
		p.f = tg.count(at)
	case gauges:
		p.f = tg.gauge(at)
	case classic:
		p.f = tg.share(at, share)
	case nativeFloats:
		p.f, p.fh = 0, tg.histogram(at, false).ToFloat(nil)
	default:
		p.f, p.h = 0, tg.histogram(at, s.kind == customBuckets)
	}
}

// histogram is what a target counts, in the four buckets that end at 1, 2, 4 and 8 in the first
// resolution, and others after a reset.
func (tg *target) histogram(at int64, custom bool) *histogram.Histogram {
	_, resets := tg.since(at)
	h := &histogram.Histogram{
		Schema: tg.schemaAfter(resets), ZeroThreshold: 1e-128,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: uint32(len(shares))}},
	}
	if custom {
		h.Schema, h.ZeroThreshold, h.CustomValues = histogram.CustomBucketsSchema, 0, tg.boundsAfter(resets)
	}
	// Of any ten that are counted these are in the first bucket, and so on; so none ever falls.
	count, last := int64(tg.count(at)), int64(0)
	for _, tenths := range [][2]int64{{0, 1}, {1, 5}, {5, 9}, {9, 10}} {
		n := count/10*(tenths[1]-tenths[0]) + max(0, min(count%10, tenths[1])-tenths[0])
		h.PositiveBuckets = append(h.PositiveBuckets, n-last)
		last = n
	}
	h.Count, h.Sum = uint64(count), 2*float64(count)
	return h
}

func (tg *target) schemaAfter(resets int) int32 { return (tg.schema + int32(resets)) % 3 }

func (tg *target) boundsAfter(resets int) []float64 {
	return [][]float64{{1, 2, 4}, {1, 2, 8}, {0.5, 2, 4}}[int(tg.schemaAfter(resets))]
}
