// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// identify tells who sent a request. Prometheus puts the same external labels on all
// series of a request, so that one series tells: the first that was not refused, or
// else the first. The strings are views of the request.
//
// A series whose own labels have the name of an external label keeps its own, in
// Prometheus. When such a series comes first the request is booked on what it says.
func (l *Ledger) identify(r *http.Request, b *Batch) senderID {
	i := 0
	if len(b.valid) > 0 {
		i = int(b.valid[0])
	}
	id := senderID{tenant: b.Tenant}
	id.cluster, id.replica = b.labelPairOf(&b.series[i], l.cfg.ClusterLabel, l.cfg.ReplicaLabel)
	if id.cluster == "" && id.replica == "" {
		id.address = l.address(r)
	}
	return id
}

// labelPairOf returns the values of two labels of a series, empty where it has none,
// from its raw form: nothing is decoded that is not asked for. The strings are views
// of the batch.
func (b *Batch) labelPairOf(s *Series, first, second string) (v, w string) {
	take := func(name, value []byte) {
		switch {
		case v == "" && string(name) == first:
			v = senderName(value)
		case w == "" && string(name) == second:
			w = senderName(value)
		}
	}
	if s.labelsIn == inRefs {
		refs := b.refsOf(s)
		for i := 0; i+1 < len(refs); i += 2 {
			if name, value := refs[i], refs[i+1]; int(max(name, value)) < len(b.symbols) {
				take(b.symbols[name].text, b.symbols[value].text)
			}
		}
		return v, w
	}
	c := cursor{b: b.labelBytesOf(s, nil)}
	for !c.done() {
		_, typ, err := c.tag()
		if err != nil {
			break
		}
		entry, err := c.message(typ)
		if err != nil {
			break
		}
		name, value, err := readLabel(entry)
		if err != nil {
			break
		}
		take(name, value)
	}
	return v, w
}

// senderName is a view of a label value, cut to senderNameBytes. It is empty for a
// value that could not be a metric's label.
func senderName(value []byte) string {
	if len(value) > senderNameBytes {
		end := senderNameBytes
		for end > 0 && !utf8.RuneStart(value[end]) {
			end--
		}
		value = value[:end]
	}
	if !utf8.Valid(value) {
		return ""
	}
	return viewString(value)
}

// address is where a request came from: the host that opened the connection, which
// behind a load balancer is the load balancer, or what the trusted proxy says.
func (l *Ledger) address(r *http.Request) string {
	if l.cfg.TrustForwardedFor {
		if addr, ok := forwardedFor(r.Header.Values("X-Forwarded-For")); ok {
			return addr
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return strings.ToValidUTF8(host[:min(len(host), senderNameBytes)], "")
}

// forwardedFor returns the last address of X-Forwarded-For. Those before it were
// there when the request reached the proxy, and nobody vouches for them.
func forwardedFor(values []string) (string, bool) {
	if len(values) == 0 {
		return "", false
	}
	last := values[len(values)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	addr, err := netip.ParseAddr(last)
	if err != nil {
		withPort, err := netip.ParseAddrPort(last)
		if err != nil {
			return "", false
		}
		addr = withPort.Addr()
	}
	return addr.WithZone("").Unmap().String(), true
}
