// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "slices"

const (
	// haSharesMax bounds the replicas that are told apart in one request; the series
	// of others are admitted. A proxy that mixes more is better not deduplicated.
	haSharesMax = 8
	// haTimesMax is of how many samples the time of a request is taken.
	haTimesMax = 31
)

// haBatch is what the election has to say of a batch.
type haBatch struct {
	shares []haShare
	// dropped counts the items of series that do not go on to the owners.
	dropped Counts
	series  int // that do not
}

// haShare is the part of a batch that one HA replica has sent.
type haShare struct {
	pair      haPair
	cluster   *haCluster
	replica   *haReplica // nil: not told apart
	admission admission
	// at is the time of the request: the median of some of its timestamps, so that
	// one target with a clock of its own does not move it.
	at    int64
	times [haTimesMax]int64
	n     int
}

// sift finds out which HA replicas a scanned batch comes from, and drops the series of
// those that need not be stored. Series without the two labels pass. Nothing is decoded:
// all series of a sender have the same two label entries, which are compared.
func (e *Election) sift(b *Batch, bounds timeBounds) {
	step := len(b.series)/haTimesMax + 1
	for i := range b.series {
		s := &b.series[i]
		if s.refused {
			continue
		}
		if s.share = b.shareOf(s, e); s.share > 0 {
			b.ha.shares[s.share-1].note(s, i%step == 0, bounds)
		}
	}
	now, drops := e.cfg.Now(), false
	for i := range b.ha.shares {
		sh := &b.ha.shares[i]
		sh.at = median(sh.times[:sh.n])
		if sh.cluster != nil && sh.n > 0 {
			sh.replica, sh.admission = sh.cluster.admit(now, sh.pair.replica, sh.at)
		}
		drops = drops || sh.admission == dropped
	}
	if drops {
		b.dropShares()
	}
}

// dropShares takes the series of the dropped replicas out of the batch.
func (b *Batch) dropShares() {
	for i := range b.series {
		s := &b.series[i]
		if s.share > 0 && b.ha.shares[s.share-1].admission == dropped {
			s.refused = true
			b.ha.series++
			b.ha.dropped.add(s.counts())
		}
	}
}

// note takes the time of a series: of some series, and of the first in any case.
func (sh *haShare) note(s *Series, take bool, bounds timeBounds) {
	if sh.n > 0 && (!take || sh.n == haTimesMax) {
		return
	}
	var t int64
	switch {
	case len(s.samples) > 0:
		t = s.samples[len(s.samples)-1].T
	case len(s.histograms) > 0:
		t = s.histograms[len(s.histograms)-1].t
	default:
		return
	}
	// What will be refused says nothing.
	if t >= bounds.min && t <= bounds.max {
		sh.times[sh.n] = t
		sh.n++
	}
}

func median(times []int64) int64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// shareOf returns the number, from 1, of the share that a series belongs to, or 0 if it
// has not both labels or cannot be told apart. Nearly always it is that of the series
// before it.
func (b *Batch) shareOf(s *Series, e *Election) uint8 {
	shares := b.ha.shares
	for i := len(shares) - 1; i >= 0; i-- {
		if shares[i].pair.of(s) {
			return uint8(i + 1)
		}
	}
	p, ok := b.pairOf(s, e.cfg.ClusterLabel, e.cfg.ReplicaLabel)
	if !ok {
		return 0
	}
	for i := range shares {
		if shares[i].pair.same(p) { // Written in another way.
			return uint8(i + 1)
		}
	}
	if len(shares) == haSharesMax {
		return 0
	}
	b.ha.shares = append(b.ha.shares, haShare{pair: p, cluster: e.cluster(b.Tenant, p.cluster)})
	return uint8(len(b.ha.shares))
}

// settle takes what became of a batch that was sifted. Dropped items were answered as
// written: their sender has nothing to send again, and for a 2.0 sender nothing written
// would mean that it has failed.
func (e *Election) settle(b *Batch, o *Outcome) {
	if e == nil || len(b.ha.shares) == 0 {
		return
	}
	now := e.cfg.Now()
	stored := o.Written.Samples+o.Written.Histograms > 0
	for i := range b.ha.shares {
		sh := &b.ha.shares[i]
		switch {
		case sh.admission == dropped:
			e.hold(sh.cluster, heldRequest{sh.replica, b.scanned, slices.Clone(b.wireBuf), sh.at, now})
		case sh.replica != nil && stored:
			sh.cluster.wasStored(now, sh.replica, sh.at)
		}
		if sh.admission == admittedUndecided {
			e.metrics.undecided.Inc()
		}
	}
	e.metrics.dropped.add(b.ha.dropped)
	o.Written.add(b.ha.dropped)
}
