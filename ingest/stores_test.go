// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// storeCluster is a ring of whole members: each has a TSDB, a series cache, metadata,
// an internal handler that the others write to, and the public one.
type storeCluster struct {
	t       *testing.T
	members []*storeMember
	hints   *memHints
	rf      int

	mu    sync.Mutex
	views []*ring.View // by member
}

type storeMember struct {
	store   *testStore
	cache   *SeriesCache
	meta    *MetadataStore
	dist    *Distributor
	server  *httptest.Server
	handler http.Handler
	ready   bool
}

func newStoreCluster(t *testing.T, members, rf int, change ...func(*tsdb.Options)) *storeCluster {
	t.Helper()
	c := &storeCluster{t: t, hints: newMemHints(), rf: rf}
	for range members {
		c.members = append(c.members, &storeMember{store: openStore(t, change...), cache: NewSeriesCache(CacheConfig{}, nil), ready: true})
	}
	for i, m := range c.members {
		var err error
		m.meta, err = OpenMetadata(MetadataConfig{Dir: t.TempDir()}, quietLogger(), nil)
		require.NoError(t, err)
		local := NewLocal(LocalConfig{Store: m.store, Metadata: m.meta, Ready: func() bool { return m.ready }}, nil)
		m.server = httptest.NewServer(NewInternalHandler(InternalHandlerConfig{Local: local, Tenant: tenantOf, Cache: m.cache}, quietLogger(), nil))
		t.Cleanup(m.server.Close)
		m.dist = NewDistributor(DistributorConfig{
			RF: rf, View: func() *ring.View { return c.viewOf(i) }, Local: local, Hints: c.hints,
			StragglerWait: 10 * time.Second, PeerTimeout: 20 * time.Second,
		}, quietLogger(), nil)
		t.Cleanup(m.dist.Close)
		m.handler = NewHandler(HandlerConfig{Writer: m.dist, Tenant: tenantOf, Cache: m.cache}, quietLogger(), nil)
	}
	c.setAlive(func(int) bool { return true })
	return c
}

func (c *storeCluster) viewOf(i int) *ring.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.views[i]
}

// setAlive makes a ring of all members, of which some are dead.
func (c *storeCluster) setAlive(alive func(i int) bool) {
	c.setMembers(func(i int) (ring.State, bool) { return ring.Active, alive(i) })
}

// setMembers makes a ring of the members that have a state but Left.
func (c *storeCluster) setMembers(f func(i int) (ring.State, bool)) {
	var members []ring.Member
	var status []ring.MemberStatus
	for i, m := range c.members {
		state, alive := f(i)
		if state == ring.Left {
			continue
		}
		member := ring.Member{Name: memberName(i), State: state, InternalAddr: strings.TrimPrefix(m.server.URL, "http://")}
		members = append(members, member)
		status = append(status, ring.MemberStatus{Member: member, Alive: alive})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.views = nil
	for i := range c.members {
		c.views = append(c.views, &ring.View{Self: memberName(i), Ring: ring.New(members, c.rf), Members: status})
	}
}

// replay delivers all hints. A circuit that is open closes within a second or so.
func (c *storeCluster) replay() {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		left := 0
		for i := range c.members {
			view := c.viewOf(0)
			if m, known := view.Member(memberName(i)); known {
				c.members[0].dist.replayTo(c.t.Context(), view, m)
			}
			left += c.hints.count(memberName(i))
		}
		return left == 0
	}, 30*time.Second, 10*time.Millisecond)
}
