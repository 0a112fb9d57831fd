// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// bindAttempts: with port 0 the kernel picks a TCP port whose UDP twin may be taken.
	bindAttempts = 10
	// resolveTimeout bounds each look-up of a name.
	resolveTimeout = 5 * time.Second
)

// listener is a bound gossip transport and the address that others should use.
type listener struct {
	transport *memberlist.NetTransport
	bindIP    string
	bindPort  int
	ip        netip.Addr
	port      int
}

func (l listener) addr() string { return net.JoinHostPort(l.ip.String(), strconv.Itoa(l.port)) }

// listen binds the gossip port. memberlist would bind all interfaces for a host
// name, and find the advertised address too late for the first meta; so both
// are done here.
func listen(cfg Config, logger *log.Logger) (listener, error) {
	bind, err := resolveAddrPort(cfg.dns, cfg.BindAddr, "")
	if err != nil {
		return listener{}, fmt.Errorf("resolve gossip address: %w; set --cluster.listen-address to host:port", err)
	}
	l := listener{bindIP: bind.Addr().String()}
	if l.transport, err = bindTransport(bind, logger); err != nil {
		return listener{}, err
	}
	l.bindPort = int(bind.Port())
	if l.bindPort == 0 {
		l.bindPort = l.transport.GetAutoBindPort()
	}
	if err := l.advertise(cfg); err != nil {
		return listener{}, errors.Join(err, l.transport.Shutdown())
	}
	return l, nil
}

func bindTransport(bind netip.AddrPort, logger *log.Logger) (*memberlist.NetTransport, error) {
	cfg := &memberlist.NetTransportConfig{
		BindAddrs: []string{bind.Addr().String()}, BindPort: int(bind.Port()), Logger: logger,
	}
	attempts := 1
	if bind.Port() == 0 {
		attempts = bindAttempts
	}
	var err error
	for range attempts {
		var t *memberlist.NetTransport
		if t, err = memberlist.NewNetTransport(cfg); err == nil {
			return t, nil
		}
	}
	remedy := "check --cluster.listen-address"
	if strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		remedy = "stop what holds the port, or choose another --cluster.listen-address"
	}
	return nil, fmt.Errorf("listen for gossip on %s: %w; %s", bind, err, remedy)
}

// advertise finds the address for other members: the one configured, else the
// one bound, else the private address of this machine.
func (l *listener) advertise(cfg Config) error {
	want := ""
	port := l.bindPort
	if cfg.AdvertiseAddr != "" {
		ap, err := resolveAddrPort(cfg.dns, cfg.AdvertiseAddr, strconv.Itoa(port))
		if err != nil {
			return fmt.Errorf("resolve gossip address: %w; set --cluster.advertise-address to host:port", err)
		}
		want, port = ap.Addr().String(), int(ap.Port())
	}
	ip, port, err := l.transport.FinalAdvertiseAddr(want, port)
	if err != nil {
		return fmt.Errorf("find the gossip address that other members can reach: %w; set --cluster.advertise-address", err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	l.ip, l.port = addr.Unmap(), port
	return nil
}

// resolveAddrPort turns host:port into an IP and port. An empty host is all
// interfaces; without a port, defaultPort is used if there is one.
func resolveAddrPort(dns resolver, hostport, defaultPort string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil && defaultPort != "" {
		host, port, err = net.SplitHostPort(net.JoinHostPort(hostport, defaultPort))
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %q is not a number of 0 to 65535", hostport)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip, uint16(n)), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	ips, err := dns.LookupHost(ctx, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, err := netip.ParseAddr(ips[0])
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// reachable replaces the host of a listen address by ip if others could not use it.
func reachable(hostport string, ip netip.Addr) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	if parsed, err := netip.ParseAddr(host); host == "" || err == nil && parsed.IsUnspecified() {
		return net.JoinHostPort(ip.String(), port)
	}
	return hostport
}
