// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeDNS knows the hosts and SRV records that a test gives it.
type fakeDNS struct {
	hosts map[string][]string
	srv   map[string][]*net.SRV
}

var errNoSuchHost = errors.New("no such host")

func (f fakeDNS) LookupHost(_ context.Context, host string) ([]string, error) {
	if ips, ok := f.hosts[host]; ok {
		return ips, nil
	}
	return nil, errNoSuchHost
}

func (f fakeDNS) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if records, ok := f.srv[name]; ok && service == "" && proto == "" {
		return name, records, nil
	}
	return "", nil, errNoSuchHost
}

func TestResolvePeers(t *testing.T) {
	dns := fakeDNS{
		hosts: map[string][]string{"ring.local": {"10.0.0.2", "10.0.0.1"}, "p0.local": {"10.0.0.1"}, "p1.local": {"fd00::1"}},
		srv:   map[string][]*net.SRV{"_gossip._tcp.local": {{Target: "p0.local.", Port: 7946}, {Target: "p1.local.", Port: 7947}, {Target: "gone.local.", Port: 1}}},
	}
	f := func(want []string, errs int, texts ...string) {
		t.Helper()
		var peers []peer
		for _, text := range texts {
			p, err := parsePeer(text)
			require.NoError(t, err)
			peers = append(peers, p)
		}
		addrs, failed := resolvePeers(t.Context(), dns, peers)
		require.Equal(t, want, addrs)
		require.Len(t, failed, errs)
		for _, err := range failed {
			require.ErrorContains(t, err, "no such host")
		}
	}
	f([]string{"10.1.2.3:7946", "[fd00::7]:1"}, 0, "[fd00::7]:1", "10.1.2.3:7946")
	f([]string{"10.0.0.1:7946", "10.0.0.2:7946"}, 0, "dns+ring.local:7946", "p0.local:7946")
	f([]string{"10.0.0.1:7946", "[fd00::1]:7947"}, 1, "dnssrv+_gossip._tcp.local")
	f([]string{"10.0.0.1:7946"}, 2, "dns+nobody:1", "p0.local:7946", "dnssrv+nobody")
}

func TestResolvePeersIsBounded(t *testing.T) {
	var ips []string
	for i := range joinTargetsMax + 50 {
		ips = append(ips, fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	addrs, errs := resolvePeers(t.Context(), fakeDNS{hosts: map[string][]string{"many": ips}}, []peer{{host: "many", port: 1}})
	require.Empty(t, errs)
	require.Len(t, addrs, joinTargetsMax)
}

func TestParsePeerRefuses(t *testing.T) {
	for _, text := range []string{"", "host", "host:", ":7946", "host:0", "host:65536", "host:x", "dns+", "dns+host", "dnssrv+", "a:b:c"} {
		_, err := parsePeer(text)
		require.ErrorContains(t, err, fmt.Sprintf("peer %q is not usable", text))
		require.ErrorContains(t, err, "set --cluster.peer to host:port, dns+name:port or dnssrv+name")
	}
}

func TestReachable(t *testing.T) {
	ip := netip.MustParseAddr("10.0.0.1")
	f := func(listen, want string) {
		t.Helper()
		require.Equal(t, want, reachable(listen, ip))
	}
	f(":9095", "10.0.0.1:9095")
	f("0.0.0.0:9095", "10.0.0.1:9095")
	f("[::]:9095", "10.0.0.1:9095")
	f("127.0.0.1:9095", "127.0.0.1:9095")
	f("node:9095", "node:9095")
	f("", "")
}
