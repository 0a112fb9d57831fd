// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// changingDNS is a DNS server whose answers a test changes.
type changingDNS struct {
	mu    sync.Mutex
	zone  fakeDNS
	asked int
}

func (d *changingDNS) set(zone fakeDNS) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zone = zone
}

func (d *changingDNS) now() fakeDNS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return d.zone
}

func (d *changingDNS) LookupHost(ctx context.Context, host string) ([]string, error) {
	return d.now().LookupHost(ctx, host)
}

func (d *changingDNS) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	return d.now().LookupSRV(ctx, service, proto, name)
}

// Names of seeds are looked up anew in each turn: a name that comes to exist, or gets another address, is
// found. The members know each other by nothing else.
func TestSeedsAreResolvedAgain(t *testing.T) {
	port := func(n *node) uint16 { return netip.MustParseAddrPort(n.Addr()).Port() }
	for _, kind := range []string{"dns+", "dnssrv+"} {
		dns := &changingDNS{}
		at := func(ip string, n *node) fakeDNS {
			return fakeDNS{
				hosts: map[string][]string{"seed.local": {ip}},
				srv:   map[string][]*net.SRV{"seed.local": {{Target: "seed.local.", Port: port(n)}}},
			}
		}
		a := startNode(t, t.TempDir(), "a", nil)
		seed := "dnssrv+seed.local"
		if kind == "dns+" {
			seed = fmt.Sprintf("dns+seed.local:%d", port(a))
		}
		b := startNode(t, t.TempDir(), "b", func(c *Config) { c.dns = dns }, seed)
		require.Equal(t, 1, b.View().Alive())
		dns.set(at("127.0.0.2", a)) // Nobody is there.
		dns.mu.Lock()
		before := dns.asked
		dns.mu.Unlock()
		wait(t, "the name is asked for again", func() bool {
			dns.mu.Lock()
			defer dns.mu.Unlock()
			return dns.asked > before
		}, b)
		require.Equal(t, 1, b.View().Alive())
		dns.set(at("127.0.0.1", a))
		waitAgree(t, 2, 2, a, b)
	}
}
