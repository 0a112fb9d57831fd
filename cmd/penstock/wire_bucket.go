// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/querier/blockstore"
	"github.com/penstock-io/penstock/uploader"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// How often the uploader looks for finished blocks, and the block store for
	// new ones in the bucket; shorter when blocks are shorter than 2h.
	uploadIntervalMax = time.Minute
	syncIntervalMax   = 5 * time.Minute
	intervalMin       = time.Second
)

// openBucket opens the object store, if there is one, and the two parts that
// use it: the uploader writes blocks, the block store reads them.
func (s *server) openBucket() error {
	raw, err := s.cfg.objstoreYAML()
	if err != nil {
		return err
	}
	if raw == nil {
		s.logger.Warn("no object storage: samples are gone after --storage.retention.time; set --objstore.config-file to keep them")
		return nil
	}
	bucketCfg, err := bucket.ParseConfig(raw)
	if err != nil {
		return fmt.Errorf("object storage configuration: %w", err)
	}
	bkt, err := bucket.Open(bucketCfg, s.logger.With("component", "bucket"), s.reg)
	if err != nil {
		return fmt.Errorf("object storage: %w", err)
	}
	s.onStop("close bucket", bkt.Close)
	blocks := bucket.NewBlocks(bkt, time.Now)
	s.bucketBlocks, s.bucketInForce = blocks, bucketCfg
	s.openBlockIndex(blocks)

	blockDuration := time.Duration(s.cfg.storage.blockDuration)
	s.uploader = uploader.New(uploader.Config{
		Tenants:   s.uploadTenants,
		Bucket:    blocks,
		Member:    s.identity.Name,
		Interval:  interval(uploadIntervalMax, blockDuration),
		Compacted: s.compacted,
	}, s.logger.With("component", "uploader"), s.reg)
	s.blocks, err = blockstore.New(blockstore.Config{
		Blocks:        blocks,
		Dir:           filepath.Join(s.cfg.storage.path, "block-cache"),
		MaxBytes:      int64(s.cfg.query.blockCache),
		MaxQueryBytes: int64(s.cfg.query.maxBlockBytes),
		DefaultTenant: defaultTenant,
		SyncInterval:  s.blockIndexInterval(),
		List:          s.blockIndex.Listing,
		// The querier is wired later, and asked only when there are queries.
		MergeChunks: func(copies ...storage.ChunkSeries) storage.ChunkSeries {
			return s.querier.MergeChunks(copies...)
		},
	}, s.logger.With("component", "blockstore"), s.reg)
	if err != nil {
		return err
	}
	s.onStop("close block store", s.blocks.Close)
	return nil
}

// blockIndexInterval is how often this member looks at the list of blocks in the bucket.
func (s *server) blockIndexInterval() time.Duration {
	return interval(syncIntervalMax, time.Duration(s.cfg.storage.blockDuration))
}

// interval scales most, which fits 2h blocks, to shorter ones.
func interval(most, blockDuration time.Duration) time.Duration {
	return max(intervalMin, min(most, blockDuration/8))
}

func (s *server) uploadTenants() []uploader.Tenant {
	names := s.store.Tenants()
	out := make([]uploader.Tenant, 0, len(names))
	for _, name := range names {
		out = append(out, uploader.Tenant{Name: name, Dir: s.store.TenantDir(name)})
	}
	return out
}

// heldFunc tells the TSDBs which blocks they may delete: all that are past
// retention on a node without a bucket, only shipped ones on a node with one.
// The TSDBs are built before the uploader, so it is looked up when asked; until
// then nothing is held.
func (s *server) heldFunc() func(tenant string, id ulid.ULID) bool {
	if raw, err := s.cfg.objstoreYAML(); err == nil && raw == nil {
		return nil
	}
	return func(tenant string, id ulid.ULID) bool {
		return s.uploader != nil && s.uploader.Held(tenant, id)
	}
}
