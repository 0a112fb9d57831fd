// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

var (
	// errStale says that a block of the plan is no longer there. Somebody else has done the work.
	errStale = errors.New("the listing was out of date")
	// errQuarantined says that a block was marked, and that the rest is to be planned anew.
	errQuarantined = errors.New("a block was quarantined")
)

// quarantinedError is errQuarantined with the block.
type quarantinedError struct{ id ulid.ULID }

func (e *quarantinedError) Error() string { return fmt.Sprintf("%s: %s", errQuarantined, e.id) }
func (*quarantinedError) Unwrap() error   { return errQuarantined }

// run does one task, in a directory of its own, which is gone when it returns.
func (c *Compactor) run(ctx context.Context, t Task) (err error) {
	begin := c.cfg.Now()
	// Whoever works on another group at the same time has asked the same question.
	if err := c.cfg.Room(scratchPerInput * bytesOf(t.Inputs) * int64(c.cfg.Concurrency)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.cfg.Dir, "merge-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	inputs := make([]input, 0, len(t.Inputs))
	for _, b := range t.Inputs {
		in, err := c.fetch(ctx, dir, b)
		if err != nil {
			return err
		}
		inputs = append(inputs, in)
	}
	out, made, err := c.merger.merge(ctx, filepath.Join(dir, "made"), t.Group.Resolution, inputs)
	var broken *brokenInput
	if errors.As(err, &broken) {
		if err := intact(inputs[broken.index].dir, t.Inputs[broken.index].Meta); err != nil {
			return err // The disk of this node is to blame, and not the block.
		}
		return c.quarantine(ctx, Quarantine{Block: t.Inputs[broken.index], Reason: broken.reason, Details: broken.Error()})
	}
	if err != nil {
		return err
	}
	if !made {
		return c.markAll(ctx, t.Inputs, markEmpty, "it has no samples")
	}
	if err := c.upload(ctx, out.dir, t.Group, t.Group.Resolution); err != nil {
		return err
	}
	level := c.cfg.levelName(t.Level)
	c.metrics.compactions.WithLabelValues(level).Inc()
	c.metrics.samples.Add(float64(out.census.samples))
	c.metrics.seconds.Observe(c.cfg.Now().Sub(begin).Seconds())
	c.logger.Info("compacted blocks", "group", t.Group.Key, "range", level, "inputs", len(t.Inputs), "block", out.id,
		"series", out.census.series, "samples", out.census.samples, "duration", c.cfg.Now().Sub(begin))
	return c.markSuperseded(ctx, t.Inputs, out.id)
}

// runDownsample makes the aggregates of one block.
func (c *Compactor) runDownsample(ctx context.Context, t DownsampleTask) (err error) {
	if err := c.cfg.Room(scratchPerInput * t.Block.Bytes * int64(c.cfg.Concurrency)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.cfg.Dir, "downsample-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, err := c.fetch(ctx, dir, t.Block)
	if err != nil {
		return err
	}
	made := filepath.Join(dir, "made")
	if err := os.Mkdir(made, dirMode); err != nil {
		return err
	}
	id, ok, err := c.cfg.Downsampler.Downsample(ctx, in.dir, t.Resolution, made)
	if err != nil {
		// Unlike a merge this may be the fault of the code as well, but a block that cannot be read is the block's.
		if _, bad := checkBlock(ctx, in.dir, c.merger.pool, true, c.merger.logger); isBrokenError(bad) && intact(in.dir, t.Block.Meta) == nil {
			return c.quarantine(ctx, Quarantine{Block: t.Block, Reason: bucket.ReasonBroken, Details: bad.Error()})
		}
		return fmt.Errorf("downsample block %s: %w", t.Block.Meta.ULID, err)
	}
	if !ok {
		mark := bucket.NewNoDownsampleMark(t.Block.Meta.ULID, c.cfg.Now(), "empty", "it has nothing to aggregate")
		return c.cfg.Blocks.Mark(ctx, mark)
	}
	out := filepath.Join(made, id.String())
	if _, err := checkBlock(ctx, out, c.merger.pool, false, c.merger.logger); err != nil {
		return fmt.Errorf("check the aggregates of block %s: %w", t.Block.Meta.ULID, err)
	}
	if err := c.upload(ctx, out, t.Group, t.Resolution); err != nil {
		return err
	}
	c.metrics.compactions.WithLabelValues(levelDownsample).Inc()
	c.logger.Info("downsampled block", "group", t.Group.Key, "from", t.Block.Meta.ULID, "block", id,
		"resolution", time.Duration(t.Resolution)*time.Millisecond)
	return nil
}

func bytesOf(blocks []bucket.Listed) int64 {
	var total int64
	for _, b := range blocks {
		total += b.Bytes
	}
	return total
}

// fetch downloads a block. One that twice in a row is not what its meta.json says is quarantined.
func (c *Compactor) fetch(ctx context.Context, dir string, b bucket.Listed) (input, error) {
	in := input{dir: filepath.Join(dir, b.Meta.ULID.String()), bytes: b.Bytes}
	download := func() error {
		if err := os.RemoveAll(in.dir); err != nil {
			return err
		}
		n, err := c.cfg.Blocks.Download(ctx, b.Meta.ULID, in.dir)
		c.metrics.readBytes.Add(float64(n))
		return err
	}
	err := c.attempts(ctx, download)
	if errors.Is(err, bucket.ErrBroken) {
		err = c.attempts(ctx, download)
	}
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return input{}, fmt.Errorf("%w: %w", errStale, err)
	case errors.Is(err, bucket.ErrBroken):
		return input{}, c.quarantine(ctx, Quarantine{Block: b, Reason: bucket.ReasonBroken, Details: err.Error()})
	case err != nil:
		return input{}, err
	}
	raw, err := os.ReadFile(filepath.Join(in.dir, "meta.json"))
	if err == nil {
		err = json.Unmarshal(raw, &in.meta)
	}
	return in, err
}

// upload makes a block visible. Our own extension tells our blocks from those of other compactors.
func (c *Compactor) upload(ctx context.Context, dir string, g Group, resolution int64) error {
	extensions, err := json.Marshal(map[string]any{"penstock": map[string]string{"member": c.cfg.Member}})
	if err != nil {
		return err
	}
	size, err := sizeOf(dir)
	if err != nil {
		return err
	}
	err = c.attempts(ctx, func() error {
		return c.cfg.Blocks.PutBlockAs(ctx, dir, bucket.Thanos{
			Labels: g.Labels, Downsample: bucket.Downsample{Resolution: resolution}, Source: sourceCompactor, Extensions: extensions,
		})
	})
	if err == nil {
		c.metrics.wroteBytes.Add(float64(size))
	}
	return err
}

// attempts tries something that needs the bucket several times, unless trying again cannot help.
func (c *Compactor) attempts(ctx context.Context, do func() error) error {
	backoff := c.cfg.RetryBackoff
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || attempt >= c.cfg.Attempts || ctx.Err() != nil ||
			errors.Is(err, bucket.ErrNotFound) || errors.Is(err, bucket.ErrBroken) || errors.Is(err, bucket.ErrAccessDenied) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff):
		}
		backoff *= 2
	}
}

func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// intact makes sure that a local copy is still what was downloaded.
func intact(dir string, meta bucket.Meta) error {
	for _, file := range meta.Thanos.Files {
		if file.Hash == nil || file.Hash.Func != "SHA256" {
			continue
		}
		sum, err := checksum(filepath.Join(dir, filepath.FromSlash(file.RelPath)))
		if err != nil {
			return err
		}
		if sum != file.Hash.Value {
			return fmt.Errorf("the local copy of %s of block %s has changed on disk", file.RelPath, meta.ULID)
		}
	}
	return nil
}

func checksum(name string) (_ string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func isBrokenError(err error) bool {
	var broken *brokenError
	return errors.As(err, &broken)
}
