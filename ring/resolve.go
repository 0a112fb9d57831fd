// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	dnsPrefix = "dns+"
	srvPrefix = "dnssrv+"
	// joinTargetsMax bounds what a DNS answer can make this member dial.
	joinTargetsMax = 256
)

// peer is one --cluster.peer: a host and port, or the name of SRV records.
type peer struct {
	text string
	host string
	port uint16
	srv  bool
}

func parsePeer(text string) (peer, error) {
	p := peer{text: text}
	if name, ok := strings.CutPrefix(text, srvPrefix); ok {
		p.host, p.srv = name, true
		if name == "" {
			return peer{}, badPeer(text, errors.New("the name is missing"))
		}
		return p, nil
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(text, dnsPrefix))
	if err != nil {
		return peer{}, badPeer(text, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return peer{}, badPeer(text, errors.New("host or port is missing"))
	}
	p.host, p.port = host, uint16(n)
	return p, nil
}

func badPeer(text string, err error) error {
	return fmt.Errorf("peer %q is not usable: %w; set --cluster.peer to host:port, %sname:port or %sname", text, err, dnsPrefix, srvPrefix)
}

// resolvePeers looks up all peers anew and returns their addresses, sorted and
// without doubles, and the errors of those that have none.
func resolvePeers(ctx context.Context, dns resolver, peers []peer) (addrs []string, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	for _, p := range peers {
		found, err := p.resolve(ctx, dns)
		if err != nil {
			errs = append(errs, fmt.Errorf("resolve peer %q: %w", p.text, err))
		}
		addrs = append(addrs, found...)
	}
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	return addrs[:min(len(addrs), joinTargetsMax)], errs
}

func (p peer) resolve(ctx context.Context, dns resolver) ([]string, error) {
	if !p.srv {
		return resolveHost(ctx, dns, p.host, p.port)
	}
	_, records, err := dns.LookupSRV(ctx, "", "", p.host)
	if err != nil {
		return nil, err
	}
	var addrs []string
	var errs []error
	for _, r := range records {
		found, err := resolveHost(ctx, dns, strings.TrimSuffix(r.Target, "."), r.Port)
		errs = append(errs, err)
		addrs = append(addrs, found...)
	}
	return addrs, errors.Join(errs...)
}

func resolveHost(ctx context.Context, dns resolver, host string, port uint16) ([]string, error) {
	ips := []string{host}
	if _, err := netip.ParseAddr(host); err != nil {
		if ips, err = dns.LookupHost(ctx, host); err != nil {
			return nil, err
		}
	}
	addrs := make([]string, len(ips))
	for i, ip := range ips {
		addrs[i] = net.JoinHostPort(ip, strconv.Itoa(int(port)))
	}
	return addrs, nil
}
