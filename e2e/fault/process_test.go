// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"os"
	"strings"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

// kill ends a member without a warning. Every fifth time it is killed again while it is starting.
func (r *rig) kill(i int) {
	n := r.anyNode()
	defer r.harmed(n)()
	n.Process.Kill()
	// Longer and shorter than it takes the others to notice.
	r.steady(r.between(0, 8*time.Second))
	n.Start()
	if i%5 == 4 {
		r.steady(r.between(0, 500*time.Millisecond))
		n.Process.Kill()
		n.Start()
	}
	n.WaitReady()
	r.steady(r.between(0, 2*time.Second))
}

// fillDisk takes all space from a member's disk, for long enough to meet a block cut about every second time. The member
// must live through it.
func (r *rig) fillDisk(int) {
	n := r.anyNode()
	defer r.harmed(n)()
	disk := r.disks[n]
	end := time.Now().Add(r.between(5*time.Second, 25*time.Second))
	for {
		// Again, for the member may give space back.
		disk.Fill()
		if time.Now().After(end) {
			break
		}
		r.steady(time.Second)
	}
	disk.Free()
	r.steady(r.between(time.Second, 3*time.Second))
	if n.Process.Ended() {
		r.t.Errorf("%s ended by itself on a full disk:\n%s", n.Name, n.Process.LogTail())
		n.Start()
	}
}

// replaceDisk brings a member back without anything that it had.
func (r *rig) replaceDisk(int) {
	r.t.Helper()
	n := r.anyNode()
	defer r.harmed(n)()
	n.Process.Kill()
	if err := os.RemoveAll(n.DataDir); err != nil {
		r.t.Fatalf("wipe the disk of %s: %v", n.Name, err)
	}
	r.steady(r.between(0, 5*time.Second))
	n.Start()
	n.WaitReady()
}

// rolling restarts every member, one after the other, as an upgrade does, and demands that nobody outside notices: no
// write through HAProxy fails, no server sends anything twice, and every question but one to the member that is away is
// answered in full.
func (r *rig) rolling(times int) {
	r.t.Helper()
	start := time.Now()
	p := r.phase("rolling restart", times, func(int) {
		for _, n := range r.cluster.Nodes {
			back := r.harmed(n)
			if code := n.Process.Terminate(); code != 0 {
				r.t.Errorf("%s ended with exit code %d after SIGTERM", n.Name, code)
			}
			n.Start()
			n.WaitReady()
			back()
			r.repaired()
		}
	})
	if n := p.proxied.Failed(); n > 0 {
		r.t.Errorf("rolling restart: %d writes through HAProxy failed:\n%s", n, checker.Texts(r.proxied.Attempts.Between(start, time.Now(), nil), 10))
	}
	if p.retried > 0 {
		r.t.Errorf("rolling restart: the Prometheus servers sent %g items twice", p.retried)
	}
	for _, a := range p.failures {
		r.t.Errorf("rolling restart: %s did not answer in full at %s: %v", a.Target, a.At.Format(time.StampMilli), a.Err)
	}
}

// scale adds two members and takes them away again. Between, the five are split into three and two.
func (r *rig) scale(int) {
	r.t.Helper()
	added := []*harness.Node{r.addNode(), r.addNode()}
	for _, n := range added {
		n.Start()
	}
	for _, n := range added {
		n.WaitReady()
	}
	r.setTargets()
	r.repaired()
	r.steady(r.between(3*time.Second, 6*time.Second))
	back := r.harmed(added...)
	r.split(added, 10*time.Second)
	back()
	r.repaired()
	if !r.canDrain() {
		r.t.Log("3-5-3: five members stay, this build cannot drain one")
		return
	}
	for _, n := range added {
		r.drain(n)
	}
}

// canDrain tells whether a member can leave for good.
func (r *rig) canDrain() bool {
	code, _ := env.RunPenstock(r.t, "drain", "--help")
	return code == 0
}

// drain has a member leave for good, with nothing lost with its disk, which is then wiped.
func (r *rig) drain(n *harness.Node) {
	r.t.Helper()
	r.setTargets(n)
	code, out := n.Drain(env)
	if code != 0 || !strings.Contains(out, "safe to delete") {
		r.t.Fatalf("drain %s: exit code %d: %s", n.Name, code, out)
	}
	n.Process.Terminate()
	if err := os.RemoveAll(n.DataDir); err != nil {
		r.t.Fatalf("wipe the disk of %s: %v", n.Name, err)
	}
	r.cluster.Remove(n)
	r.repaired()
}
