// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// tcpTimeout bounds one push/pull, and so how long Join can take.
	tcpTimeout = 5 * time.Second
	// reclaimTime is how long a dead member's name stays bound to its old address.
	// memberlist's default is for ever; one second only steadies a flapping link.
	reclaimTime = time.Second
	// setStateTimeout bounds the wait until a new state is on the wire; gossip
	// takes well below a second.
	setStateTimeout = 5 * time.Second
)

var errLeft = errors.New("this member has left for good; start it on an empty data directory to join again")

// Cluster is this node's membership: it gossips, remembers, and publishes a
// View. All methods are safe for concurrent use.
type Cluster struct {
	cfg     Config
	peers   []peer
	logger  *slog.Logger
	metrics *clusterMetrics
	quiet   *quiet
	list    *memberlist.Memberlist
	addr    string
	started time.Time // by cfg.Now; see now
	view    atomic.Pointer[View]

	// usurped is set when our name is another node's: our goodbye would be taken for its.
	usurped atomic.Bool

	// announce serialises changes of our own state and leaving.
	announce sync.Mutex
	stopped  bool // guarded by announce

	// mu guards what follows. It is never held while memberlist is called, because
	// memberlist calls our delegates, which take it, under its own lock.
	mu      sync.Mutex
	history *History
	self    Member
	dirty   bool      // the file of last-known members is behind
	turn    time.Time // When this process was last seen to run; see awake.
	// minority is View.MinoritySince as a reading of cfg.Now.
	minority time.Time
	// contested is set when others still know our name at another address.
	contested bool
	rivals    map[string]rival // by name; see NotifyConflict
	opinions  map[string]bool  // by sender; see opinion
	// reunited are the members that came (back) to life since the last turn of the re-join
	// loop. By gossip they are alive, but what they know of the dead may be old.
	reunited map[string]bool
}

// NewCluster binds the gossip port and starts to answer on it; it contacts
// nobody before Join. The member is JOINING. Errors name the cause and the
// remedy.
func NewCluster(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, started: cfg.Now(), logger: logger, quiet: newQuiet(cfg.Now), metrics: newClusterMetrics(reg), rivals: map[string]rival{}, opinions: map[string]bool{}, reunited: map[string]bool{}}
	for _, text := range cfg.Peers {
		p, err := parsePeer(text)
		if err != nil {
			return nil, err
		}
		c.peers = append(c.peers, p)
	}
	known, err := c.loadHistory()
	if err != nil {
		return nil, err
	}
	l, err := listen(cfg, c.gossipLogger())
	if err != nil {
		return nil, err
	}
	if err := c.start(l, known); err != nil {
		return nil, errors.Join(err, l.transport.Shutdown())
	}
	return c, nil
}

// start brings this member to life at the address of l.
func (c *Cluster) start(l listener, known []Record) error {
	c.addr = l.addr()
	c.self = Member{
		Name: c.cfg.Identity.Name, Zone: c.cfg.Zone, State: Joining, Generation: c.cfg.Identity.Generation,
		InternalAddr: reachable(c.cfg.InternalAddr, l.ip), HTTPAddr: reachable(c.cfg.HTTPAddr, l.ip),
		Newcomer: c.cfg.Newcomer,
	}
	if _, err := (meta{c.self, c.cfg.Settings}).encode(); err != nil {
		return err
	}
	c.history = NewHistory(Record{Member: c.self, GossipAddr: c.addr, LastSeen: c.now()}, known, c.cfg.Settings.RF)
	c.publish()
	list, err := memberlist.Create(c.memberlistConfig(l))
	if err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	c.list = list
	return nil
}

func (c *Cluster) memberlistConfig(l listener) *memberlist.Config {
	m := memberlist.DefaultLANConfig()
	m.Name = c.cfg.Identity.Name
	m.Transport = l.transport
	m.BindAddr, m.BindPort = l.bindIP, l.bindPort
	m.AdvertiseAddr, m.AdvertisePort = l.ip.String(), l.port
	m.Label = c.cfg.Label
	m.SecretKey = c.cfg.Key
	m.TCPTimeout = tcpTimeout
	m.DeadNodeReclaimTime = reclaimTime
	m.Logger = c.gossipLogger()
	d := (*delegate)(c)
	m.Delegate, m.Events, m.Merge, m.Alive, m.Conflict = d, d, d, d, d
	if c.cfg.tune != nil {
		c.cfg.tune(m)
	}
	return m
}

func (c *Cluster) loadHistory() ([]Record, error) {
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create cluster directory: %w", err)
	}
	known, damage, err := loadHistory(c.historyPath())
	if err != nil {
		return nil, err
	}
	if damage != nil {
		c.logger.Error("last-known members set aside; they are found again through the seeds", "file", c.historyPath()+".damaged", "err", damage)
	}
	for i, r := range known {
		known[i] = r.clampTo(c.now())
	}
	return known, nil
}

func (c *Cluster) historyPath() string { return filepath.Join(c.cfg.Dir, historyFileName) }

// View returns the current snapshot; never nil.
func (c *Cluster) View() *View { return c.view.Load() }

// Addr returns the gossip address that other members use.
func (c *Cluster) Addr() string { return c.addr }

// ErrToldLate is that something could not be told to any member in time, as when the machine stood still. Gossip goes on to tell it.
var ErrToldLate = errors.New("the others may learn it late")

// SetState tells the other members our new state, and returns when it is on the
// wire. LEFT is final: it gives up our slots at once, and no other state follows.
// After ErrToldLate the state is set, but the others may learn it late.
func (c *Cluster) SetState(state State) error {
	c.announce.Lock()
	defer c.announce.Unlock()
	return c.setState(state, setStateTimeout)
}

func (c *Cluster) setState(state State, timeout time.Duration) error {
	if c.stopped || c.usurped.Load() {
		return errors.New("set member state: the member has left the cluster")
	}
	c.mu.Lock()
	if c.self.State == Left && state != Left {
		c.mu.Unlock()
		return errLeft
	}
	c.self.State = state
	c.mu.Unlock()
	// Our own meta comes back through NotifyUpdate, which publishes it.
	if err := c.list.UpdateNode(timeout); err != nil {
		return fmt.Errorf("gossip state %s: %w: %w", state, ErrToldLate, err)
	}
	c.logger.Info("member state changed", "state", state)
	return nil
}

// SetData tells the other members whether this one lacks data that it should hold, and the
// latest former generation whose data it has been given back (see MemberStatus.Whole),
// and returns when it is on the wire. Call it before the member turns ACTIVE, so that
// no answer counts on it too early. After an error from gossip the values are set, but the
// others may learn them late.
func (c *Cluster) SetData(holes bool, refilled uint64) error {
	c.announce.Lock()
	defer c.announce.Unlock()
	if c.stopped || c.usurped.Load() {
		return errors.New("tell what data the member lacks: it has left the cluster")
	}
	c.mu.Lock()
	changed := c.self.Holes != holes || c.self.Refilled != refilled
	c.self.Holes, c.self.Refilled = holes, refilled
	c.mu.Unlock()
	if !changed {
		return nil
	}
	if err := c.list.UpdateNode(setStateTimeout); err != nil {
		return fmt.Errorf("gossip what data the member lacks: %w", err)
	}
	c.logger.Info("member data changed", "holes", holes, "refilled", refilled)
	return nil
}

// SetSettled tells the other members that this one is no Newcomer any more: enough of them
// know it. After an error from gossip it is set, but the others may learn it late.
func (c *Cluster) SetSettled() error {
	c.announce.Lock()
	defer c.announce.Unlock()
	if c.stopped || c.usurped.Load() {
		return errors.New("tell that the member is no newcomer: it has left the cluster")
	}
	c.mu.Lock()
	changed := c.self.Newcomer
	c.self.Newcomer = false
	c.mu.Unlock()
	if !changed {
		return nil
	}
	if err := c.list.UpdateNode(setStateTimeout); err != nil {
		return fmt.Errorf("gossip that the member is no newcomer: %w", err)
	}
	return nil
}

// Leave says goodbye and stops gossip: as LEAVING, which keeps our slots for a
// restart, unless the state is LEFT already. Call it once, after Run has ended.
// A goodbye that nobody hears within timeout is no error: when all members stop at
// once there may be nobody left, and else the others take us for dead, with the
// same effect a few seconds later. A node that was refused because of its name says nothing.
func (c *Cluster) Leave(timeout time.Duration) error {
	c.announce.Lock()
	defer c.announce.Unlock()
	if c.stopped {
		return nil
	}
	if c.usurped.Load() {
		c.stopped = true
		return c.list.Shutdown()
	}
	if err := c.setState(Leaving, timeout); err != nil && !errors.Is(err, errLeft) {
		c.logger.Info("no member heard that this one is leaving", "err", err)
	}
	c.stopped = true
	if err := c.list.Leave(timeout); err != nil {
		c.logger.Info("no member heard that this one left", "err", err)
	}
	return errors.Join(c.persist(), c.list.Shutdown())
}

// publish makes the history the current view. The caller holds mu, or is alone.
func (c *Cluster) publish() {
	now := c.now()
	c.awake(now) // News may come before housekeeping does.
	v := c.history.View(now)
	switch {
	case v.MinoritySince.IsZero():
		c.minority = time.Time{}
	case v.MinoritySince.Equal(longAgo):
		c.minority = longAgo
	case c.minority.IsZero():
		c.minority = c.cfg.Now().Add(v.MinoritySince.Sub(now))
	}
	v.MinoritySince = c.minority
	c.view.Store(v)
	c.metrics.observe(v)
	c.dirty = true
}
