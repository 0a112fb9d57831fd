// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// RouterIP is the address of what runs beside the hosts: load balancers, the S3 server, senders, the test itself.
const RouterIP = "10.77.0.1"

// Network connects hosts, each a network namespace of its own, through the namespace of the test, which is their
// router and reaches all of them whatever is cut between them. It needs Isolate.
//
//	host 1 (10.77.1.2) --veth-- +--------------------------+ --veth-- host 2 (10.77.2.2)
//	                            | the test (10.77.0.1),    |
//	                            | HAProxy, S3, Prometheus  | --veth-- host 3 (10.77.3.2)
//	                            +--------------------------+
//
// Packets that are lost on the way are lost without a word, as by a cable or a firewall that drops: an error that
// comes back at once is the easy case.
type Network struct {
	t     testing.TB
	dir   string
	hosts int
}

// NewNetwork is a network without hosts.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	return &Network{t: t, dir: Dir(t)}
}

// Host is one network namespace. It lives as long as the process that holds it, which the end of the test ends.
type Host struct {
	Name string
	IP   string

	t      testing.TB
	link   string // the router's end of the cable
	subnet string
	holder *Process
}

// NewHost makes a namespace and connects it.
func (n *Network) NewHost() *Host {
	n.t.Helper()
	n.hosts++
	name := fmt.Sprintf("host-%d", n.hosts)
	h := &Host{
		Name: name, t: n.t, link: fmt.Sprintf("h%d", n.hosts),
		IP:     fmt.Sprintf("10.77.%d.2", n.hosts),
		subnet: fmt.Sprintf("10.77.%d.0/24", n.hosts),
		holder: Start(n.t, Command{Name: name, Path: "unshare", Args: []string{"--net", "sleep", "infinity"}, Dir: n.dir}),
	}
	h.awaitNamespace()
	gateway := fmt.Sprintf("10.77.%d.1", n.hosts)
	pid := strconv.Itoa(h.holder.PID())
	h.must(ip("link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", pid))
	h.must(ip("addr", "add", gateway+"/24", "dev", h.link))
	h.must(ip("link", "set", h.link, "up"))
	// What is for a host whose link is down goes nowhere, and no answer says so.
	h.must(ip("route", "add", "blackhole", h.subnet, "metric", "1000"))
	h.must(h.run("ip", "link", "set", "lo", "up"))
	h.must(h.run("ip", "addr", "add", h.IP+"/24", "dev", "eth0"))
	h.must(h.run("ip", "link", "set", "eth0", "up"))
	h.must(h.run("ip", "route", "add", "default", "via", gateway))
	return h
}

// awaitNamespace waits until the holder has left the namespace of the test.
func (h *Host) awaitNamespace() {
	h.t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	h.must(err)
	Eventually(h.t, Patience, h.Name+" has a namespace", func() error {
		theirs, err := os.Readlink(h.namespace())
		if err == nil && theirs == own {
			err = fmt.Errorf("it is still %s", own)
		}
		return err
	})
}

func (h *Host) namespace() string {
	return filepath.Join("/proc", strconv.Itoa(h.holder.PID()), "ns", "net")
}

// inside is the command that runs c in the namespace. nsenter becomes the program: the process id is the program's.
func (h *Host) inside(c Command) Command {
	c.Args = append([]string{"--net=" + h.namespace(), "--", c.Path}, c.Args...)
	c.Path = "nsenter"
	return c
}

func (h *Host) run(path string, args ...string) error {
	c := h.inside(Command{Path: path, Args: args})
	return runCommand(exec.Command(c.Path, c.Args...), nil)
}

func (h *Host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%s: %v", h.Name, err)
	}
}

// Unplug takes the link down: nothing reaches the host and nothing leaves it.
func (h *Host) Unplug() { h.t.Helper(); h.must(ip("link", "set", h.link, "down")) }

// Plug takes the link up again.
func (h *Host) Plug() { h.t.Helper(); h.must(ip("link", "set", h.link, "up")) }

// Throttle bounds what reaches the host, such as to "256kbit" a second, with what does not fit waiting for up to
// 400 ms and then lost.
func (h *Host) Throttle(rate string) {
	h.t.Helper()
	h.must(tc("qdisc", "replace", "dev", h.link, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "400ms"))
}

// Unthrottle ends that.
func (h *Host) Unthrottle() { h.t.Helper(); h.must(tc("qdisc", "del", "dev", h.link, "root")) }

// Cut loses what one host sends to another. The other direction is not touched.
func (n *Network) Cut(from, to *Host) {
	n.t.Helper()
	from.must(ip("rule", "add", "from", from.IP, "to", to.IP, "blackhole"))
}

// Heal undoes Cut.
func (n *Network) Heal(from, to *Host) {
	n.t.Helper()
	from.must(ip("rule", "del", "from", from.IP, "to", to.IP, "blackhole"))
}

func ip(args ...string) error { return runCommand(exec.Command("ip", args...), nil) }
func tc(args ...string) error { return runCommand(exec.Command("tc", args...), nil) }
