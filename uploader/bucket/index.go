// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// DefaultIndexMaxAge is how old an index may be that is used in place of a listing: three times the interval at which
	// it is written. Together with the interval at which readers look, it must be well below the time for which members
	// keep a block after its upload.
	DefaultIndexMaxAge = 15 * time.Minute
	// DefaultIndexReuse is for how long what was read is good for all readers of a process.
	DefaultIndexReuse = 30 * time.Second
	// indexSkewMax is how far ahead the clock of the member that wrote an index may be. From an index that is further ahead
	// nobody can tell how old it is.
	indexSkewMax = 5 * time.Minute
)

// The values of the result label.
const (
	indexUsed    = "used"
	indexAbsent  = "absent"
	indexOld     = "old"
	indexDamaged = "damaged"
	indexFailed  = "failed"
)

// IndexConfig is what an Index needs. Zero values are defaults, except for Blocks.
type IndexConfig struct {
	Blocks *Blocks
	Member string // Who writes; for people.
	MaxAge time.Duration
	Reuse  time.Duration // A nanosecond is none.
	Now    func() time.Time
}

// Index is the list of blocks as an object in the bucket, so that not every member has to list the bucket all day. One of
// them lists it and publishes what it found; the others read one object. Where there is no index that can be relied upon the
// bucket is listed: nothing rests on the index being there. Its methods are safe for concurrent use.
type Index struct {
	cfg       IndexConfig
	reads     *prometheus.CounterVec
	published prometheus.Counter
	age       prometheus.Gauge

	mu      sync.Mutex // Held while the bucket is asked, so that readers share one answer.
	last    Listing
	fetched time.Time // When last was had; zero: never.
	// seen is when this process first had an index of the time seenAt. An index that does not change is as old as
	// that, whatever the clock of its writer says.
	seen, seenAt time.Time
}

// NewIndex returns an Index that makes no request until it is asked. A nil registerer is allowed.
func NewIndex(cfg IndexConfig, reg prometheus.Registerer) *Index {
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = DefaultIndexMaxAge
	}
	if cfg.Reuse <= 0 {
		cfg.Reuse = DefaultIndexReuse
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	i := &Index{
		cfg: cfg,
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_bucket_index_reads_total",
			Help: "Reads of the block index by what came of it. All but those used were followed by a listing of the bucket.",
		}, []string{"result"}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_bucket_index_published_total",
			Help: "Block indexes that this member wrote.",
		}),
		age: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_bucket_index_listed_timestamp_seconds",
			Help: "When the list of blocks that this member had last was made.",
		}),
	}
	for _, result := range []string{indexUsed, indexAbsent, indexOld, indexDamaged, indexFailed} {
		i.reads.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(i.reads, i.published, i.age)
	}
	return i
}

// Listing returns the blocks of the bucket as they were at its time At, which is at most MaxAge ago. Callers share it and
// must not change it. The metas have neither parents nor checksums.
func (i *Index) Listing(ctx context.Context) (Listing, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.cfg.Now()
	if d := now.Sub(i.fetched); !i.fetched.IsZero() && d >= 0 && d < i.cfg.Reuse {
		return i.last, nil
	}
	l, result := i.read(ctx, now)
	i.reads.WithLabelValues(result).Inc()
	if result != indexUsed {
		var err error
		if l, err = i.cfg.Blocks.Metas(ctx); err != nil {
			return Listing{}, err
		}
	}
	i.keep(l)
	return i.last, nil
}

// Fresh lists the bucket, whatever the index says.
func (i *Index) Fresh(ctx context.Context) (Listing, error) {
	l, err := i.cfg.Blocks.Metas(ctx)
	if err != nil {
		return Listing{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keep(l)
	return l, nil
}

// keep makes l what readers get for a while, unless they have a newer one. The caller holds the lock.
func (i *Index) keep(l Listing) {
	if l.At.Before(i.last.At) {
		return
	}
	i.last, i.fetched = l, i.cfg.Now()
	i.age.Set(float64(l.At.UnixMilli()) / 1000)
}

// read returns the index, or why it cannot be used.
func (i *Index) read(ctx context.Context, now time.Time) (Listing, string) {
	content, err := i.get(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		return Listing{}, indexAbsent
	case err != nil:
		return Listing{}, indexFailed
	}
	l, err := decodeIndex(content)
	if err != nil || l.At.Sub(now) > indexSkewMax {
		return Listing{}, indexDamaged
	}
	if i.seen.IsZero() || !l.At.Equal(i.seenAt) {
		i.seen, i.seenAt = now, l.At
	}
	if max(now.Sub(l.At), now.Sub(i.seen)) > i.cfg.MaxAge {
		return Listing{}, indexOld
	}
	return l, indexUsed
}

func (i *Index) get(ctx context.Context) ([]byte, error) {
	r, err := i.cfg.Blocks.bucket.Get(ctx, indexObjectKey)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, indexBytesMax+1))
	return content, errors.Join(err, r.Close())
}

// Publish writes a listing for all members. Of two who do so at once the later write stays; either is good. An older
// listing than the one this member had last is not written.
func (i *Index) Publish(ctx context.Context, l Listing) error {
	i.mu.Lock()
	newest := i.last.At
	i.mu.Unlock()
	if l.At.Before(newest) {
		return nil
	}
	content, err := encodeIndex(l, i.cfg.Member)
	if err == nil {
		err = i.cfg.Blocks.bucket.Put(ctx, indexObjectKey, bytes.NewReader(content), int64(len(content)))
	}
	if err != nil {
		return fmt.Errorf("write block index: %w", err)
	}
	i.published.Inc()
	return nil
}
