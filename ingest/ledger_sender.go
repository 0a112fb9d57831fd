// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// sender is one row of the ledger. Safe for concurrent use.
type sender struct {
	id    senderID
	since time.Time

	mu       sync.Mutex
	last     time.Time // of a request
	newest   int64     // timestamp of an accepted sample; 0 is none
	requests RequestCounts
	samples  SampleCounts
	reasons  map[Reason]uint64
}

// RequestCounts are the requests of a sender by how they were answered.
type RequestCounts struct {
	// Accepted were answered with 2xx.
	Accepted uint64 `json:"accepted"`
	// Rejected were answered with 400 because something of them was refused; the
	// rest of them is stored.
	Rejected uint64 `json:"rejected"`
	// Unavailable were answered with 503 or 429: nothing is promised, come again.
	Unavailable uint64 `json:"unavailable"`
	// Unreadable were refused before their samples were known: too large, not what
	// they were declared to be, damaged.
	Unreadable uint64 `json:"unreadable"`
	// Retried are those of all the above that the sender marked as a further attempt.
	Retried uint64 `json:"retried"`
}

// SampleCounts are the samples of a sender, histograms included and exemplars not.
// Received is the sum of Accepted, Rejected and Unavailable.
type SampleCounts struct {
	Received uint64 `json:"received"`
	// Accepted were promised, each time that they were delivered.
	Accepted uint64 `json:"accepted"`
	// Duplicate are those of Accepted that came in a request which had been answered
	// before, byte for byte.
	Duplicate uint64 `json:"duplicate"`
	// Deduplicated are those of Accepted that were not stored, because another server
	// of the HA pair was elected. Restored are those of them that were stored after
	// all, because the elected one had not covered their time.
	Deduplicated uint64 `json:"deduplicated"`
	Restored     uint64 `json:"restored"`
	// Distinct is what is stored of Accepted: without Duplicate and without what of
	// Deduplicated was not restored.
	Distinct uint64 `json:"distinct"`
	Rejected uint64 `json:"rejected"`
	// Unavailable came in requests that have to be delivered again.
	Unavailable uint64 `json:"unavailable"`
	// Hinted are those of Accepted that an owner missed and will get from a hint, once
	// for each such owner.
	Hinted uint64 `json:"hinted"`
}

func (c *SampleCounts) add(o SampleCounts) {
	c.Received += o.Received
	c.Accepted += o.Accepted
	c.Duplicate += o.Duplicate
	c.Deduplicated += o.Deduplicated
	c.Restored += o.Restored
	c.Distinct += o.Distinct
	c.Rejected += o.Rejected
	c.Unavailable += o.Unavailable
	c.Hinted += o.Hinted
}

func (c *RequestCounts) add(o RequestCounts) {
	c.Accepted += o.Accepted
	c.Rejected += o.Rejected
	c.Unavailable += o.Unavailable
	c.Unreadable += o.Unreadable
	c.Retried += o.Retried
}

// delivery is one answered request in the units of the ledger.
type delivery struct {
	received, accepted, duplicate, deduplicated, hinted int

	newest      int64 // timestamp of an accepted sample; 0 is none
	unavailable bool  // the sender has to deliver all of it again
	retried     bool
}

func deliveryOf(b *Batch, o Outcome) delivery {
	d := delivery{received: b.received.stored(), unavailable: o.Unavailable > 0}
	if !d.unavailable {
		d.deduplicated, d.hinted = b.ha.dropped.stored(), o.Hinted
		d.accepted = o.Written.stored() + d.deduplicated
		d.newest = newestSample(b, o)
	}
	return d
}

// stored is the number of items that are samples, in the ledger's sense.
func (c Counts) stored() int { return c.Samples + c.Histograms }

// newestSample returns the newest timestamp of what was accepted, or 0. Series of
// which something was refused do not count: their time may be what is wrong.
func newestSample(b *Batch, o Outcome) int64 {
	newest := int64(math.MinInt64)
	if len(b.refused) == 0 && len(o.Rejected) == 0 {
		newest = newestOf(b.samples, b.histograms, newest)
	} else {
		refused := map[int]struct{}{}
		for _, list := range [][]Rejection{b.refused, o.Rejected} {
			for _, r := range list {
				refused[r.Series] = struct{}{}
			}
		}
		for _, i := range b.valid {
			if _, bad := refused[int(i)]; !bad {
				newest = newestOf(b.samplesOf(&b.series[i]), b.histogramsOf(&b.series[i]), newest)
			}
		}
	}
	if newest == math.MinInt64 {
		return 0
	}
	return newest
}

func newestOf(samples []Sample, histograms []histogramView, newest int64) int64 {
	for i := range samples {
		newest = max(newest, samples[i].T)
	}
	for i := range histograms {
		newest = max(newest, histograms[i].t)
	}
	return newest
}

// book adds a request to the row.
func (s *sender) book(d *delivery, refused, rejected []Rejection, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen(d.retried, now)
	s.samples.Received += uint64(d.received)
	if d.unavailable {
		s.requests.Unavailable++
		s.samples.Unavailable += uint64(d.received)
		return
	}
	s.samples.Accepted += uint64(d.accepted)
	s.samples.Duplicate += uint64(d.duplicate)
	s.samples.Deduplicated += uint64(d.deduplicated)
	s.samples.Hinted += uint64(d.hinted)
	s.newest = max(s.newest, d.newest)
	if len(refused)+len(rejected) == 0 {
		s.requests.Accepted++
		return
	}
	s.requests.Rejected++
	s.reject(refused)
	s.reject(rejected)
}

func (s *sender) reject(list []Rejection) {
	for _, r := range list {
		n := uint64(r.Items.stored())
		if n == 0 {
			continue
		}
		if s.reasons == nil {
			s.reasons = map[Reason]uint64{}
		}
		s.reasons[r.Reason] += n
		s.samples.Rejected += n
	}
}

// bookUnreadable adds a request that was not what it was declared to be.
func (s *sender) bookUnreadable(retried bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen(retried, now)
	s.requests.Unreadable++
}

func (s *sender) seen(retried bool, now time.Time) {
	if retried {
		s.requests.Retried++
	}
	if now.After(s.last) {
		s.last = now
	}
}

// addDuplicates notes that samples which are booked as accepted were duplicates.
func (s *sender) addDuplicates(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples.Duplicate += uint64(n)
}

// addRestored notes that samples which are booked as deduplicated were stored; so many
// of them were stored before.
func (s *sender) addRestored(n, duplicate int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples.Restored += uint64(n)
	s.samples.Duplicate += uint64(duplicate)
}

func (s *sender) silentSince(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.Before(t)
}

// headerRetryAttempt is how Prometheus numbers the attempts after the first.
const headerRetryAttempt = "Retry-Attempt"

func retried(r *http.Request) bool {
	v := r.Header.Get(headerRetryAttempt)
	if v == "" {
		return false // Nearly always, and without making an error.
	}
	n, err := strconv.Atoi(v)
	return err == nil && n > 0
}
