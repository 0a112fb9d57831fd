// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// testHead is the head of a store. The owners of a series are those members whose name and labels have the least hashes.
type testHead struct {
	*store
	member string
	rf     int
}

func headOf(s *store, member string, rf int) testHead { return testHead{s, member, rf} }

func (h testHead) ReadHead(tenant string, read func(ix tsdb.IndexReader, mint, maxt int64) error) error {
	if h.empty || tenant != testTenant {
		return nil
	}
	ix, err := h.db.Head().Index()
	if err != nil {
		return err
	}
	return errors.Join(read(ix, h.db.Head().MinTime(), h.db.Head().MaxTime()), ix.Close())
}

// headMembers are the names of all members that a test of this package has.
var headMembers = []string{"m0", "m1", "m2", "m3", "m4"}

func ownersOf(lset labels.Labels, rf int) []string {
	names := slices.Clone(headMembers)
	slices.SortFunc(names, func(a, b string) int {
		return int(int64(xxhash.Sum64String(a+lset.String())>>1) - int64(xxhash.Sum64String(b+lset.String())>>1))
	})
	return names[:rf]
}

func (h testHead) Counts(_ string, whole, asked []string) func(labels.Labels) bool {
	return func(lset labels.Labels) bool {
		owners := ownersOf(lset, h.rf)
		for _, among := range [][]string{whole, asked} {
			for _, owner := range owners {
				if slices.Contains(among, owner) {
					return owner == h.member
				}
			}
		}
		return false
	}
}

// countedCluster is a cluster of five whose series are on three members each, and what there is in all.
func countedCluster(t *testing.T) (*cluster, *Cardinality) {
	c := newCluster(t, len(headMembers), 3)
	want := map[string]uint64{}
	metrics, pairs := map[string]uint64{}, map[string]uint64{}
	for i := range 200 {
		lset := labels.FromStrings("__name__", fmt.Sprintf("metric_%d", i%7), "i", fmt.Sprint(i), "zone", fmt.Sprint(i%3))
		for _, owner := range ownersOf(lset, 3) {
			c.stores[slices.Index(headMembers, owner)].write(t, lset, tsample{t: int64(1000 + i), f: 1})
		}
		lset.Range(func(l labels.Label) {
			pairs[l.Name+"="+l.Value]++
			want[l.Name] += labels.SizeOfLabels(l.Name, l.Value, 1)
		})
		metrics[lset.Get("__name__")]++
	}
	return c, &Cardinality{
		Series: 200, Chunks: 200, MinTime: 1000, MaxTime: 1199, Metrics: sortedCounts(metrics), Pairs: sortedCounts(pairs),
		LabelNames: []LabelCount{{Name: "i", Values: 200, Bytes: want["i"]}, {Name: "__name__", Values: 7, Bytes: want["__name__"]}, {Name: "zone", Values: 3, Bytes: want["zone"]}},
	}
}

func countAll(t *testing.T, c *cluster) *Cardinality {
	t.Helper()
	got, warnings, err := c.Cardinality(tenantCtx())
	require.NoError(t, err)
	require.Empty(t, warnings)
	for i := range got.LabelNames {
		got.LabelNames[i].Hashes = nil
	}
	return got
}

// TestCardinality: each series counts once, with all members there, with one known to be away, with one that nobody knows
// to be away, and with one that lacks something.
func TestCardinality(t *testing.T) {
	c, want := countedCluster(t)
	require.Equal(t, want, countAll(t, c))

	c.members.Members[3].Alive = false
	require.Equal(t, want, countAll(t, c), "one is known to be away")

	c.members.Members[3].Alive = true
	c.members.Members[0].Lacks = "lost data"
	c.stores[0].empty = true
	require.Equal(t, want, countAll(t, c), "one has nothing any more, and says so")

	c.members.Members[0].Lacks, c.stores[0].empty = "", false
	c.stop(2)
	require.Equal(t, want, countAll(t, c), "one is away and nobody has noticed")

	c.stop(1)
	_, _, err := c.Cardinality(tenantCtx())
	var incomplete *IncompleteError
	require.ErrorAs(t, err, &incomplete)
	got, warnings, err := c.Cardinality(WithPartialResponse(tenantCtx(), true))
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Less(t, got.Series, want.Series+1)
	require.Greater(t, got.Series, want.Series/2)
}

// TestCardinalityOfAnother: a tenant without series has none.
func TestCardinalityOfAnother(t *testing.T) {
	c, _ := countedCluster(t)
	got, _, err := c.Cardinality(WithTenant(t.Context(), "other"))
	require.NoError(t, err)
	require.Equal(t, &Cardinality{MinTime: math.MaxInt64, MaxTime: math.MinInt64, Metrics: []Count{}, Pairs: []Count{}}, got)
}

// TestSketch: the union of sketches counts each string once, exactly when there are few and about right when there are many.
func TestSketch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 100, sketchSize - 1, 20_000, 100_000} {
		var parts [3][]string
		for i := range n {
			for _, p := range []int{rng.IntN(3), rng.IntN(3)} {
				if s := fmt.Sprint("value-", i); len(parts[p]) == 0 || parts[p][len(parts[p])-1] != s {
					parts[p] = append(parts[p], s)
				}
			}
		}
		var all sketch
		for _, p := range parts {
			all = all.union(newSketch(p))
		}
		allowed := 0.0
		if n >= sketchSize {
			allowed = 4 / math.Sqrt(sketchSize)
		}
		require.InEpsilon(t, float64(n)+1, float64(all.count())+1, allowed+1e-9, "of %d", n)
	}
}

// TestMetadataOfAll: what any member knows is in the answer of each; of what they say of one family the latest counts.
func TestMetadataOfAll(t *testing.T) {
	known := [][]Metadata{
		{{Name: "a", Type: "gauge", Help: "old", ToldMs: 1}, {Name: "b", Type: "counter"}},
		{{Name: "a", Type: "gauge", Help: "new", ToldMs: 2}, {Name: "c", Type: "counter", Unit: "s"}},
		{{Name: "d", Type: "unknown"}},
	}
	of := func(i int) MetadataFunc {
		return func(tenant, metric string, limit int) []Metadata {
			require.Equal(t, testTenant, tenant)
			return slices.DeleteFunc(slices.Clone(known[i]), func(m Metadata) bool { return metric != "" && m.Name != metric })
		}
	}
	c := newCluster(t, 3, 3, func(cfg *Config) { cfg.Metadata = of(0) })
	for i := 1; i < 3; i++ {
		c.replace(t, i, NewPeerHandler(PeerHandlerConfig{Local: c.stores[i], Tenant: tenantOf, Metadata: of(i)}, quiet(), nil))
	}
	names := func(metric string, limit int) string {
		found, err := c.Metadata(tenantCtx(), metric, limit)
		require.NoError(t, err)
		var out []string
		for _, m := range found {
			out = append(out, m.Name+" "+m.Help)
		}
		return strings.Join(out, ",")
	}
	require.Equal(t, "a new,b ,c ,d ", names("", -1))
	require.Equal(t, "a new,b ", names("", 2))
	require.Equal(t, "", names("", 0))
	require.Equal(t, "c ", names("c", -1))
	require.Equal(t, "", names("nothing", -1))
	c.stop(1)
	require.Equal(t, "a old,b ,d ", names("", -1), "a member that does not answer is no error")
	c.replace(t, 1, http.NotFoundHandler())
	require.Equal(t, "a old,b ,d ", names("", -1), "nor is one that does not know the question")
}

// TestStatusQuestions: what another member asks wrongly is refused, and what it asks of nobody is nothing.
func TestStatusQuestions(t *testing.T) {
	c, _ := countedCluster(t)
	ask := func(h http.Handler, path, body string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, pathPrefix+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(headerProtocol, protocolVersion)
		r.Header.Set(headerTenant, testTenant)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	h := NewPeerHandler(PeerHandlerConfig{Local: c.stores[0], Tenant: tenantOf, Heads: headOf(c.stores[0], "m0", 3)}, quiet(), nil)
	for body, want := range map[string]int{"limit=x": 400, "": 400, "limit=-1": 200, "limit=5&metric=up": 200} {
		status, said := ask(h, opMetadata, body)
		require.Equal(t, want, status, "%s: %s", body, said)
	}
	status, said := ask(h, opCardinality, "whole=%zz")
	require.Equal(t, http.StatusBadRequest, status, said)
	for _, body := range []string{"", "whole=nobody&asked=nobody", strings.Repeat("asked=x&", 5_000)} {
		status, said = ask(h, opCardinality, body)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, said, `"series":0`)
	}
	bare := NewPeerHandler(PeerHandlerConfig{Local: c.stores[0], Tenant: tenantOf}, quiet(), nil)
	status, _ = ask(bare, opCardinality, "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, said = ask(bare, opMetadata, "limit=1")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, said, `"data":[]`)
}

// BenchmarkCountHead counts the series of a head of which a third are this member's to count.
func BenchmarkCountHead(b *testing.B) {
	const series = 100_000
	s := newStore(b)
	app := s.db.AppenderV2(b.Context())
	for i := range series {
		lset := labels.FromStrings("__name__", fmt.Sprintf("metric_%d", i%500), "cluster", "prod", "instance", fmt.Sprintf("10.0.%d.%d:9100", i/500/250, i/500%250),
			"job", "node", "le", fmt.Sprint(i%11), "namespace", fmt.Sprint(i%40), "pod", fmt.Sprint(i/500), "prometheus_replica", "a", "zone", fmt.Sprint(i%3))
		_, err := app.Append(0, lset, 0, 1000, 1, nil, nil, storage.AOptions{})
		require.NoError(b, err)
	}
	require.NoError(b, app.Commit())
	b.ReportAllocs()
	for b.Loop() {
		c, err := countHead(b.Context(), thirdHead{headOf(s, "m0", 3)}, testTenant, headMembers, headMembers)
		require.NoError(b, err)
		require.NotZero(b, c.Series)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/series, "ns/series")
}

// thirdHead decides by a hash that costs as much as a slot does.
type thirdHead struct{ testHead }

func (thirdHead) Counts(string, []string, []string) func(labels.Labels) bool {
	return func(lset labels.Labels) bool { return lset.Hash()%3 == 0 }
}
