// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
)

// blockSyncMax keeps the index of blocks, which may be three times as old, younger than the 45 minutes after which the block
// store does not trust what it knows any more.
const blockSyncMax = 10 * time.Minute

// compactConfig is what a node does with the blocks in the bucket.
type compactConfig struct {
	enabled          bool
	foreign          bool
	downsampling     bool
	blockSync        model.Duration
	consistencyDelay model.Duration
	deletionDelay    model.Duration
	concurrency      int
	scratchBytes     units.Base2Bytes

	retentionRaw model.Duration
	retention5m  model.Duration
	retention1h  model.Duration
}

func addCompactFlags(cmd *kingpin.CmdClause, c *compactConfig) {
	cmd.Flag("compact.enabled", "Compact the blocks in the bucket, delete what is past retention, and write the index of blocks. Members share the work. Turn it off where another compactor works on the bucket.").
		Default("true").BoolVar(&c.enabled)
	cmd.Flag("compact.foreign", "Compact and expire blocks with external labels that Penstock does not write, too. They keep every label.").
		BoolVar(&c.foreign)
	cmd.Flag("compact.downsampling", "Make blocks with a sample every 5 minutes of raw ones that span 40 h, and with one every hour of those that span 10 days.").
		Default("true").BoolVar(&c.downsampling)
	cmd.Flag("compact.block-sync-interval", "How often the bucket is looked at for something to do, and the index of blocks is written.").
		Default("5m").SetValue(&c.blockSync)
	cmd.Flag("compact.consistency-delay", "How long after the newest upload into a time range its blocks are merged. What comes later is merged later.").
		Default("30m").SetValue(&c.consistencyDelay)
	cmd.Flag("compact.deletion-delay", "How long a block stays in the bucket after it was marked for deletion.").
		Default("48h").SetValue(&c.deletionDelay)
	cmd.Flag("compact.concurrency", "Groups of blocks that this node works on at once; each takes one core and its own share of the disk.").
		Default("1").IntVar(&c.concurrency)
	cmd.Flag("compact.scratch-bytes", "Most bytes of disk for blocks that are being merged: twice the size of the blocks. 0: what is free above --storage.min-free-bytes.").
		Default("0").BytesVar(&c.scratchBytes)
	cmd.Flag("retention.raw", "How long raw samples stay in the bucket. 0: for ever. Of a tenant: retention_raw in --limits.config-file.").
		Default("0").SetValue(&c.retentionRaw)
	cmd.Flag("retention.5m", "How long samples downsampled to 5m stay in the bucket. 0: for ever.").
		Default("0").SetValue(&c.retention5m)
	cmd.Flag("retention.1h", "How long samples downsampled to 1h stay in the bucket. 0: for ever.").
		Default("0").SetValue(&c.retention1h)
}

func (c *config) checkCompact() error {
	if c.compact.concurrency < 1 {
		return fmt.Errorf("--compact.concurrency=%d must be at least 1", c.compact.concurrency)
	}
	for flag, d := range map[string]model.Duration{
		"--compact.block-sync-interval": c.compact.blockSync,
		"--compact.consistency-delay":   c.compact.consistencyDelay,
	} {
		if d <= 0 {
			return fmt.Errorf("%s must be above 0", flag)
		}
	}
	if time.Duration(c.compact.blockSync) > blockSyncMax {
		return fmt.Errorf("--compact.block-sync-interval=%s must be at most %s: what members know of the bucket would be too old to be trusted", c.compact.blockSync, blockSyncMax)
	}
	if c.compact.scratchBytes < 0 {
		return fmt.Errorf("--compact.scratch-bytes=%s must not be below 0", c.compact.scratchBytes)
	}
	// A query may have begun with a list of blocks that was as old as members let it become.
	if least := c.deletionDelayMin(); time.Duration(c.compact.deletionDelay) < least {
		return fmt.Errorf("--compact.deletion-delay=%s must be at least %s: until then members may read what was marked", c.compact.deletionDelay, least)
	}
	return nil
}
