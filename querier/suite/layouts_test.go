// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/dedup"
)

const (
	tenant = "team-a"
	// replicaLabel sorts in the middle of most label sets, so that the series of one pair are far apart in what is below.
	replicaLabel = "m_replica"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// asTheSuite makes a TSDB like the one that the suite makes for itself.
func asTheSuite(o *tsdb.Options) {
	o.EnableSTStorage = true
	o.FloatChunkEncoding = chunkenc.EncXOR2
	o.EnableHistogramSTEncoding = true
	o.StripeSize = 512
	o.WALSegmentSize = -1
	o.EnableExemplarStorage = false // The suite has none, and the space for them is taken at once.
}

// member is a querier.Local.
type member struct {
	*tsdb.DB
	start int64
}

func (m member) Querier(_ string, mint, maxt int64) (storage.Querier, error) {
	return m.DB.Querier(mint, maxt)
}

func (m member) ChunkQuerier(_ string, mint, maxt int64) (storage.ChunkQuerier, error) {
	return m.DB.ChunkQuerier(mint, maxt)
}

func (m member) ExemplarQuerier(ctx context.Context, _ string) (storage.ExemplarQuerier, error) {
	return m.DB.ExemplarQuerier(ctx)
}
func (m member) LocalStart(string) int64 { return m.start }

func (m member) Newest(string) int64 { return math.MaxInt64 }

// BlockSets implements querier.Local: it has no blocks.
func (member) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}
func (member) Ready() bool { return true }

// newFanout asks members, the first one in this process and the others over HTTP, and a bucket if there is one.
func (s *laidOut) newFanout(blocks querier.Blocks, members ...member) *querier.Querier {
	ms := querier.Membership{RF: len(members)}
	for i, m := range members {
		one := querier.Member{Name: strconv.Itoa(i), Self: i == 0, Alive: true, Serving: true}
		if i > 0 {
			h := querier.NewPeerHandler(querier.PeerHandlerConfig{
				Local: m, Tenant: func(*http.Request) (string, error) { return tenant, nil },
			}, quiet(), nil)
			server := httptest.NewServer(h)
			s.closers = append(s.closers, server.Close)
			one.URL = server.URL
		}
		ms.Members = append(ms.Members, one)
	}
	return querier.New(querier.Config{Local: members[0], Blocks: blocks, Members: func() querier.Membership { return ms }}, quiet(), nil)
}

// laidOut is a storage.Storage whose samples are somewhere else.
type laidOut struct {
	t        testing.TB
	appendTo func(context.Context) storage.AppenderV2
	view     func() (storage.SampleAndChunkQueryable, error) // Of what was appended so far.
	closers  []func()
}

func (s *laidOut) newTSDB() *tsdb.DB {
	db := teststorage.New(s.t, asTheSuite)
	s.closers = append(s.closers, func() { _ = db.Close() })
	return db.DB
}

// Close lets go of everything: the suite makes hundreds of storages.
func (s *laidOut) Close() error {
	for _, f := range s.closers {
		f()
	}
	return nil
}

func (s *laidOut) AppenderV2(ctx context.Context) storage.AppenderV2 { return s.appendTo(ctx) }

func (s *laidOut) Querier(mint, maxt int64) (storage.Querier, error) {
	view, err := s.view()
	if err != nil {
		return nil, err
	}
	q, err := view.Querier(mint, maxt)
	return withTenant{q}, err
}

func (s *laidOut) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	view, err := s.view()
	if err != nil {
		return nil, err
	}
	return view.ChunkQuerier(mint, maxt)
}

func (*laidOut) Appender(context.Context) storage.Appender {
	panic("the suite has moved on to AppenderV2")
}
func (*laidOut) StartTime() (int64, error) { return math.MinInt64, nil }

// withTenant gives selects the tenant, which the test language knows nothing of.
type withTenant struct{ storage.Querier }

func (q withTenant) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	return q.Querier.Select(querier.WithTenant(ctx, tenant), sortSeries, hints, ms...)
}

func fixed(view storage.SampleAndChunkQueryable) func() (storage.SampleAndChunkQueryable, error) {
	return func() (storage.SampleAndChunkQueryable, error) { return view, nil }
}

// identical: one TSDB, read as if it were the copies of two peers.
func identical(t testing.TB) storage.Storage {
	s := &laidOut{t: t}
	db := s.newTSDB()
	copied := member{DB: db, start: math.MinInt64}
	s.appendTo, s.view = db.AppenderV2, fixed(s.newFanout(nil, member{DB: s.newTSDB(), start: math.MinInt64}, copied, copied))
	return s
}

// pair: every sample twice, as from two replicas that see exactly the same.
func pair(t testing.TB) storage.Storage {
	s := &laidOut{t: t}
	db := s.newTSDB()
	s.appendTo = func(ctx context.Context) storage.AppenderV2 {
		return &manyAppender{to: []storage.AppenderV2{db.AppenderV2(ctx)}, lay: func(ls labels.Labels, _ int64, put putFunc) error {
			for _, replica := range []string{"a", "b"} {
				if err := put(0, labels.NewBuilder(ls).Set(replicaLabel, replica).Labels()); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	fanout := s.newFanout(nil, member{DB: s.newTSDB(), start: math.MinInt64}, member{DB: db, start: math.MinInt64})
	s.view = fixed(dedup.Queryable(fanout, dedup.Config{ReplicaLabels: []string{replicaLabel}}))
	return s
}

// holes: three copies, of which each sample is missing from one at most.
func holes(t testing.TB) storage.Storage {
	s := &laidOut{t: t}
	var members []member
	for range 3 {
		members = append(members, member{DB: s.newTSDB(), start: math.MinInt64})
	}
	s.appendTo = func(ctx context.Context) storage.AppenderV2 {
		a := &manyAppender{}
		for _, m := range members {
			a.to = append(a.to, m.AppenderV2(ctx))
		}
		a.lay = func(ls labels.Labels, t int64, put putFunc) error {
			// The suite loads series in any order: which copy misses a sample hangs on the sample alone.
			rng := rand.New(rand.NewPCG(labels.StableHash(ls), uint64(t)))
			missing := rng.IntN(len(members) + 1) // Or none.
			for n := range members {
				if n == missing {
					continue
				}
				if err := put(n, ls); err != nil {
					return err
				}
			}
			return nil
		}
		return a
	}
	s.view = fixed(s.newFanout(nil, members...))
	return s
}

// putFunc appends the sample at hand to one of the TSDBs.
type putFunc func(n int, ls labels.Labels) error

// manyAppender appends to several TSDBs, as lay decides for each sample.
type manyAppender struct {
	to  []storage.AppenderV2
	lay func(ls labels.Labels, t int64, put putFunc) error
}

func (a *manyAppender) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	return 0, a.lay(ls, t, func(n int, ls labels.Labels) error {
		opts := opts
		opts.Exemplars = append([]exemplar.Exemplar(nil), opts.Exemplars...)
		var ownH *histogram.Histogram
		var ownFH *histogram.FloatHistogram
		if h != nil {
			ownH = h.Copy()
		}
		if fh != nil {
			ownFH = fh.Copy()
		}
		_, err := a.to[n].Append(0, ls, st, t, v, ownH, ownFH, opts)
		return err
	})
}

func (a *manyAppender) Commit() error {
	for _, to := range a.to {
		if err := to.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (a *manyAppender) Rollback() error {
	for _, to := range a.to {
		if err := to.Rollback(); err != nil {
			return err
		}
	}
	return nil
}

var _ storage.Storage = (*laidOut)(nil)
