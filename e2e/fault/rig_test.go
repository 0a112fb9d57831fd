// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	// blockDuration is short enough for blocks to be cut and shipped between the faults.
	blockDuration = 30 * time.Second
	// diskSize is what one member has: room for what it keeps, for the segment of 512 MiB that a block is written into, and
	// for the low-water mark of 512 MiB, below which no write is taken.
	diskSize = 2 << 30
	// rejoinWithin is what is promised of members that find each other again.
	rejoinWithin = 30 * time.Second
	// repairWithin bounds the wait until a fault is repaired: ring whole, hints delivered.
	repairWithin = 5 * time.Minute
	// decideWithin is how long what is under way at the end may take to be taken.
	decideWithin = 5 * time.Minute
	// maxTicks bounds the record: a load runs two hours at the most.
	maxTicks = 3600
)

// rig is a cluster of three members with a host, a link and a disk each, and all that sends to it and asks it.
//
//	direct load --------------------> penstock-1, -2, -3 --> S3
//	proxied load, Prometheus a, b,      ^    |
//	penstock loadgen -----> HAProxy ----+    +--> watch: questions to every member and to HAProxy
type rig struct {
	t       *testing.T
	rng     *rand.Rand
	net     *harness.Network
	hosts   map[*harness.Node]*harness.Host
	disks   map[*harness.Node]*harness.Disk
	s3      *harness.S3
	cluster *harness.Cluster
	proxy   *harness.Proxy
	a, b    *harness.Prometheus
	from    time.Time // both servers scrape since then

	direct, proxied *checker.Load
	watch           *checker.Watch
	mtx             sync.Mutex
	targets         []checker.Target // of the direct load

	stopTicks, stopLoads, stopWatch context.CancelFunc // the end of new ticks, of all attempts, of all questions
	loads, watching                 sync.WaitGroup
	loadErr                         error

	away   map[string][]interval // when a member was not fit to be asked, by name
	report report
}

type interval struct{ from, to time.Time }

// harmed notes that nothing is expected of some members themselves until the returned function is called.
func (r *rig) harmed(nodes ...*harness.Node) func() {
	from := time.Now()
	return func() {
		for _, n := range nodes {
			r.away[n.Name] = append(r.away[n.Name], interval{from, time.Now()})
		}
	}
}

// wasAway tells whether a question was put to a member that was harmed meanwhile.
func (r *rig) wasAway(a checker.Asked) bool {
	for _, i := range r.away[a.Target] {
		if a.At.Before(i.to) && a.At.Add(a.Took).After(i.from) {
			return true
		}
	}
	return false
}

func startRig(t *testing.T) *rig {
	t.Helper()
	if notIsolated != nil {
		t.Skipf("no namespaces: %v", notIsolated)
	}
	r := &rig{
		t: t, rng: rand.New(rand.NewPCG(*seed, 0)), net: harness.NewNetwork(t),
		away:  map[string][]interval{},
		hosts: map[*harness.Node]*harness.Host{}, disks: map[*harness.Node]*harness.Disk{},
	}
	t.Logf("seed %d", *seed)
	r.s3 = env.StartS3At(t, harness.RouterIP+":9000")
	var places []harness.Place
	var hosts []*harness.Host
	var disks []*harness.Disk
	for i := range 3 {
		hosts = append(hosts, r.net.NewHost())
		disks = append(disks, harness.NewDisk(t, "disk-"+strconv.Itoa(i+1), diskSize))
		places = append(places, harness.Place{Host: hosts[i], DataDir: filepath.Join(disks[i].Dir, "data")})
	}
	r.cluster = env.NewCluster(t, harness.ClusterConfig{
		Places: places, BlockDuration: blockDuration,
		ObjstoreFile: harness.WriteFile(t, harness.Dir(t), "objstore.yml", r.s3.ObjstoreConfig("")),
	})
	for i, n := range r.cluster.Nodes {
		r.hosts[n], r.disks[n] = hosts[i], disks[i]
	}
	r.cluster.Start()
	r.proxy = env.StartHAProxy(t, harness.Loopback(env.FreePort(t)), r.cluster.Addresses())
	r.startPair()
	r.startLoads()
	r.startWatch()
	r.steady(5 * time.Second)
	return r
}

// startPair starts two real senders that scrape the same targets.
func (r *rig) startPair() {
	targets := []string{harness.StartTarget(r.t, 1).Addr, harness.StartTarget(r.t, 2).Addr}
	start := func(replica string) *harness.Prometheus {
		return env.StartPrometheus(r.t, harness.PrometheusConfig{
			Replica: replica, Addr: harness.Loopback(env.FreePort(r.t)), PushTo: r.proxy.Addr(),
			Jobs: []harness.ScrapeJob{{Name: "target", Addrs: targets}},
		})
	}
	r.a, r.b = start("a"), start("b")
	r.from = time.Now()
}

// startLoads starts both senders that keep a record, and the load generator.
func (r *rig) startLoads() {
	start := time.Now().Truncate(time.Second)
	for _, n := range r.cluster.Nodes {
		r.targets = append(r.targets, target(n.API))
	}
	r.direct = checker.NewLoad(checker.LoadConfig{
		Plan:     checker.Plan{Name: "direct", Seed: *seed, Shards: 60, Series: 20, Interval: 2 * time.Second, Start: start},
		MaxTicks: maxTicks, Impatient: true,
		Targets: func() []checker.Target {
			r.mtx.Lock()
			defer r.mtx.Unlock()
			return r.targets
		},
	})
	r.proxied = checker.NewLoad(checker.LoadConfig{
		Plan:     checker.Plan{Name: "proxied", Seed: *seed, Shards: 20, Series: 20, Interval: 2 * time.Second, Start: start},
		MaxTicks: maxTicks,
		Targets:  func() []checker.Target { return []checker.Target{target(r.proxy.API)} },
	})
	var ticks, loads context.Context
	ticks, r.stopTicks = context.WithCancel(context.Background())
	loads, r.stopLoads = context.WithCancel(context.Background())
	r.t.Cleanup(func() { r.stopTicks(); r.stopLoads(); r.loads.Wait() })
	for _, l := range []*checker.Load{r.direct, r.proxied} {
		r.loads.Go(func() {
			if err := l.Run(ticks, loads); err != nil {
				r.mtx.Lock()
				r.loadErr = err
				r.mtx.Unlock()
			}
		})
	}
	// It sends from the past up to now, and so is out of order all the time.
	env.StartLoadgen(r.t, "--url=http://"+r.proxy.Addr()+"/api/v1/write", "--series=200", "--batch=100",
		"--interval=1s", "--ticks=3600", "--warmup-ticks=0", "--rate=200", "--connections=2")
}

// startWatch asks every member and HAProxy, all the time.
func (r *rig) startWatch() {
	r.watch = &checker.Watch{
		Loads: []*checker.Load{r.direct, r.proxied}, Ticks: 60, Pause: 300 * time.Millisecond, Timeout: 20 * time.Second,
	}
	var ctx context.Context
	ctx, r.stopWatch = context.WithCancel(context.Background())
	r.t.Cleanup(func() { r.stopWatch(); r.watching.Wait() })
	for i, api := range append(r.apis(), r.proxy.API) {
		r.watching.Go(func() { r.watch.Run(ctx, target(api), *seed+uint64(i)) })
	}
}

func (r *rig) apis() []harness.API {
	var out []harness.API
	for _, n := range r.cluster.Nodes {
		out = append(out, n.API)
	}
	return out
}

func target(api harness.API) checker.Target { return checker.Target{Name: api.Name, URL: api.URL} }

// steady lets the load run: there must be something new before the next fault.
func (r *rig) steady(d time.Duration) { time.Sleep(d) }

// between is a random time.
func (r *rig) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.rng.Int64N(int64(most-least)))
}

// anyNode is a random member.
func (r *rig) anyNode() *harness.Node { return r.cluster.Nodes[r.rng.IntN(len(r.cluster.Nodes))] }

// others are all members but one.
func (r *rig) others(n *harness.Node) []*harness.Node {
	var out []*harness.Node
	for _, o := range r.cluster.Nodes {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

// settle ends the loads and waits until everything that was begun is decided and delivered.
func (r *rig) settle() {
	r.t.Helper()
	r.stopTicks()
	timer := time.AfterFunc(decideWithin, r.stopLoads)
	defer timer.Stop()
	r.loads.Wait()
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.loadErr != nil {
		r.t.Errorf("not everything was taken at the end: %v", r.loadErr)
	}
}
