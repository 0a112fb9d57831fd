// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ring"
)

// ringsMax bounds the rings that one range is checked against; a cluster changes a few times
// a week.
const ringsMax = 32

// ownsFunc returns which series this member must hold in [mint, maxt): those it owns now, and those
// that it owned when they were written, before other members came or left. The latter
// were acknowledged on its word too, and may have one copy less by now than was promised.
func (s *server) ownsFunc(tenant string, mint, maxt int64) func(labels.Labels) bool {
	view := s.members.View()
	// A sample is written up to an out-of-order window after its time, and a little before.
	from := time.UnixMilli(mint).Add(-maxFutureOwner)
	to := time.UnixMilli(maxt).Add(time.Duration(s.cfg.storage.outOfOrderWindow))
	rings := ringsDuring(view, from, to, time.Duration(s.cfg.cluster.forgetAfter))
	var buf []byte
	return func(lset labels.Labels) bool {
		var key uint64
		key, buf = ingest.SeriesKey(buf, tenant, lset)
		slot := ring.SlotOf(key)
		return slices.ContainsFunc(rings, func(r *ring.Ring) bool { return owns(r, view.Self, slot) })
	}
}

func owns(r *ring.Ring, name string, slot uint16) bool {
	return slices.ContainsFunc(r.Owners(slot), func(i uint16) bool { return r.Members()[i].Name == name })
}

// ringsDuring returns the rings that there were between two times, as far as a view can tell, and
// the one of now. A member was in the ring from the making of its data directory on, or always if it had
// another one before; one that left or was forgotten until after it was last seen. It is pure.
func ringsDuring(view *ring.View, from, to time.Time, forgetAfter time.Duration) []*ring.Ring {
	type life struct {
		member     ring.Member
		begin, end time.Time
	}
	var lives []life
	moments := []time.Time{from}
	for _, m := range view.Members {
		l := life{member: m.Member, end: time.Unix(math.MaxInt32, 0)}
		if m.Replaced == 0 {
			l.begin = time.Unix(0, int64(min(m.Generation, math.MaxInt64)))
			moments = append(moments, l.begin)
		}
		if !m.InRing() {
			l.end = m.LastSeen.Add(forgetAfter)
			moments = append(moments, m.LastSeen, l.end)
		}
		lives = append(lives, l)
	}
	rings := []*ring.Ring{view.Ring}
	slices.SortFunc(moments, time.Time.Compare)
	for _, at := range moments {
		if at.Before(from) || at.After(to) || len(rings) > ringsMax {
			continue
		}
		var members []ring.Member
		for _, l := range lives {
			if !l.begin.After(at) && l.end.After(at) {
				members = append(members, l.member)
			}
		}
		r := ring.New(members, view.Ring.RF())
		if !slices.ContainsFunc(rings, func(known *ring.Ring) bool { return cmp.Compare(known.Version(), r.Version()) == 0 }) {
			rings = append(rings, r)
		}
	}
	return rings
}
