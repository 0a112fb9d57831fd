// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Downsampler makes coarser blocks out of blocks on local disk. It is safe for concurrent use; each call holds the samples of
// one series and maps the files of its block.
type Downsampler struct {
	logger  *slog.Logger
	metrics *metrics
	now     func() time.Time
}

// New returns a Downsampler. Logger and registerer may be nil; a nil now is the real time.
func New(logger *slog.Logger, reg prometheus.Registerer, now func() time.Time) *Downsampler {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Downsampler{logger: logger, metrics: newMetrics(reg), now: now}
}

// Downsample writes the block in src, at a coarser resolution, to a directory in dst that has its ULID for a name, and returns
// the ULID. The block has the same time, sources and external labels. It is false when no sample was left, and nothing was
// written: a block of stale markers.
//
// src must be of a finer resolution: Raw for FiveMinutes, FiveMinutes for OneHour. Chunks of a series must not overlap in it.
// A failure is one of this block; trying again without another block or disk gives the same. The directory appears by a
// rename when all of it is on disk. A crash leaves one that ends in ".tmp".
func (d *Downsampler) Downsample(ctx context.Context, src string, resolution int64, dst string) (ulid.ULID, bool, error) {
	begin := d.now()
	id, err := ulid.New(ulid.Timestamp(begin), rand.Reader)
	if err != nil {
		return ulid.ULID{}, false, err
	}
	r, err := block(ctx, d.logger, src, dst, id, resolution)
	took := d.now().Sub(begin)
	d.metrics.observe(resolution, r, took, err)
	if err != nil {
		return ulid.ULID{}, false, fmt.Errorf("downsample block in %s: %w", src, err)
	}
	d.logger.Info("downsampled a block", "src", src, "block", id, "resolution", Duration(resolution), "series", r.NumSeries,
		"empty_series", r.empty, "samples_in", r.samples, "samples_out", r.NumSamples, "took", took)
	return id, r.NumSeries > 0, nil
}

// Duration returns a resolution as one.
func Duration(resolution int64) time.Duration { return time.Duration(resolution) * time.Millisecond }
