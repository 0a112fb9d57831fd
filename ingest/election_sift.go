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
	// of has, beside each series, the number of its share, from 1; 0 is none.
	of []uint8
	// dropped counts the items of series that do not go on to the owners.
	dropped Counts
	series  int // that do not
}

// haShare is the part of a batch that one HA replica has sent.
type haShare struct {
	pair      haPair
	cluster   *haCluster
	replica   *haReplica // nil: not told apart
	admission haAdmission
	// at is the time of the request: the median of some of its timestamps, so that
	// one target with a clock of its own does not move it.
	at    int64
	times [haTimesMax]int64
	n     int
}

// sift finds out which HA replicas a scanned batch comes from, and drops the series of
// those that need not be stored. It tells whether all are dropped. Series without the
// two labels pass. Nothing is decoded: all series of a sender have the same two label
// entries, which are compared.
func (e *Election) sift(b *Batch, bounds timeBounds) bool {
	step := len(b.series)/haTimesMax + 1
	b.ha.of = slices.Grow(b.ha.of, len(b.series))
	for i := range b.series {
		s, n := &b.series[i], uint8(0)
		if !s.refused {
			n = b.shareOf(s, e)
		}
		if b.ha.of = append(b.ha.of, n); n > 0 {
			b.ha.shares[n-1].note(b, s, i%step == 0, bounds)
		}
	}
	now, drops := e.cfg.Now(), false
	for i := range b.ha.shares {
		sh := &b.ha.shares[i]
		sh.at = median(sh.times[:sh.n])
		if sh.cluster != nil && sh.n > 0 {
			sh.replica, sh.admission = sh.cluster.admit(now, sh.pair.replica, sh.at)
		}
		if sh.admission == haDropped && e.stopping.Load() {
			sh.admission = haUndecided
		}
		drops = drops || sh.admission == haDropped
	}
	if !drops {
		return false
	}
	for i, n := range b.ha.of {
		if n > 0 && b.ha.shares[n-1].admission == haDropped {
			b.drop(&b.series[i])
		}
	}
	return b.ha.series == len(b.series)
}

// drop takes a series out of the batch that need not be stored.
func (b *Batch) drop(s *Series) {
	s.refused = true
	b.ha.series++
	b.ha.dropped.add(b.counts(s))
}

// note takes the time of a series: of some series, and of the first in any case.
func (sh *haShare) note(b *Batch, s *Series, take bool, bounds timeBounds) {
	if sh.n > 0 && (!take || sh.n == haTimesMax) {
		return
	}
	var t int64
	samples, histograms := b.samplesOf(s), b.histogramsOf(s)
	switch {
	case len(samples) > 0:
		t = samples[len(samples)-1].T
	case len(histograms) > 0:
		t = histograms[len(histograms)-1].t
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
		if shares[i].pair.of(b, s) {
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

// settle takes what became of a batch that was sifted, and returns its dropped parts, to
// be kept once it is known where the request is booked. Dropped items were answered as
// written: their sender has nothing to send again, and for a 2.0 sender nothing written
// would mean that it has failed.
func (e *Election) settle(b *Batch, o *Outcome) (parts []heldRequest) {
	if e == nil || len(b.ha.shares) == 0 {
		return nil
	}
	now := e.cfg.Now()
	stored := o.Written.Samples+o.Written.Histograms > 0
	var body []byte
	for i := range b.ha.shares {
		sh := &b.ha.shares[i]
		switch {
		case sh.admission == haDropped:
			if body == nil {
				body = b.compressed()
			}
			parts = append(parts, heldRequest{cluster: sh.cluster, replica: sh.replica, proto: b.form, body: body, at: sh.at, since: now})
		case sh.replica != nil && stored:
			sh.cluster.wasStored(now, sh.replica, sh.at)
		}
		if sh.admission == haUndecided {
			e.metrics.undecided.Inc()
		}
	}
	e.metrics.dropped.add(b.ha.dropped)
	o.Written.add(b.ha.dropped)
	return parts
}
