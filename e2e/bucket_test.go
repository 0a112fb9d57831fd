// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// bucketTimeout bounds one look into the bucket.
const bucketTimeout = 30 * time.Second

// compacted is the member of blocks that are no member's any more.
const compacted = ""

// shipped is what Thanos expects of a meta.json beside what Prometheus does.
type shipped struct {
	tsdb.BlockMeta
	Thanos struct {
		Labels map[string]string `json:"labels"`
		Source string            `json:"source"`
	} `json:"thanos"`
}

func (s *story) openBucket() bucket.Bucket {
	s.t.Helper()
	cfg, err := bucket.ParseConfig([]byte(s.s3.ObjstoreConfig("")))
	s.noError(err)
	bkt, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), nil)
	s.noError(err)
	s.t.Cleanup(func() { _ = bkt.Close() })
	return bkt
}

// shippedBlocks reads the bucket without Penstock's idea of its layout: by the names of the objects and the fields of
// meta.json that Thanos documents. Blocks are listed by the member that shipped them, and those that were compacted of them
// below compacted.
func shippedBlocks(bkt bucket.Bucket) (map[string][]shipped, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bucketTimeout)
	defer cancel()
	objects := map[string]bool{}
	if err := bkt.List(ctx, "", true, func(o bucket.Object) error {
		objects[o.Key] = o.Size > 0
		return nil
	}); err != nil {
		return nil, err
	}
	out := map[string][]shipped{}
	for key := range objects {
		dir, name := path.Split(key)
		if name != "meta.json" {
			continue
		}
		meta, err := readMeta(ctx, bkt, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		// meta.json comes last: with it in place the rest is there.
		if !objects[dir+"index"] || !objects[dir+"chunks/000001"] {
			return nil, fmt.Errorf("%s is there without the rest of the block", key)
		}
		if _, err := ulid.Parse(strings.TrimSuffix(dir, "/")); err != nil || meta.ULID.String()+"/" != dir {
			return nil, fmt.Errorf("%s names the block %s", key, meta.ULID)
		}
		member := meta.Thanos.Labels["receive_replica"]
		wantSource := "receive"
		if member == compacted {
			wantSource = "compactor"
		}
		if meta.Thanos.Source != wantSource || meta.Thanos.Labels["tenant_id"] != "default-tenant" {
			return nil, fmt.Errorf("%s has the source %q and the labels %v", key, meta.Thanos.Source, meta.Thanos.Labels)
		}
		out[member] = append(out[member], meta)
	}
	return out, nil
}

func readMeta(ctx context.Context, bkt bucket.Bucket, key string) (shipped, error) {
	var meta shipped
	r, err := bkt.Get(ctx, key)
	if err != nil {
		return meta, err
	}
	defer r.Close()
	return meta, json.NewDecoder(r).Decode(&meta)
}
