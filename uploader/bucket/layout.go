// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
)

// The names of the objects below <ULID>/. This file is the only place that puts keys together or takes them apart; the
// page docs/format/layout.md describes them.
const (
	metaFile           = "meta.json"
	indexFile          = "index"
	chunksDir          = "chunks"
	tombstonesFile     = "tombstones"
	deletionMarkFile   = "deletion-mark.json"
	noCompactMarkFile  = "no-compact-mark.json"
	noDownsampMarkFile = "no-downsample-mark.json"
)

// The external labels that tell apart what Penstock uploads.
const (
	// LabelTenant is the external label whose value is the tenant of every series in a block.
	LabelTenant = "tenant_id"
	// LabelReceiveReplica is the external label whose value is the member that wrote a block. Blocks that differ only in
	// it hold copies of the same series.
	LabelReceiveReplica = "receive_replica"
)

// key returns the key of the object rel of a block.
func key(id ulid.ULID, rel string) string { return id.String() + "/" + rel }

// parseKey takes a key apart. It is false for objects that are not part of a block, such as debug/metas/.
func parseKey(k string) (id ulid.ULID, rel string, ok bool) {
	dir, rel, found := strings.Cut(k, "/")
	if !found || rel == "" {
		return ulid.ULID{}, "", false
	}
	id, err := ulid.ParseStrict(dir)
	// Lower case parses too, but is not how a block is called.
	return id, rel, err == nil && id.String() == dir
}

// isBlockFile says that rel is one of the files of a block and not a mark or something unknown beside them.
func isBlockFile(rel string) bool {
	return rel == metaFile || rel == indexFile || isChunkFile(rel)
}

func isChunkFile(rel string) bool {
	dir, name := path.Split(rel)
	return dir == chunksDir+"/" && name != "" && strings.Trim(name, "0123456789") == ""
}

// uploadOrder sorts the files of a block: chunks, index, meta.json. Whoever sees meta.json sees a whole block.
func uploadOrder(files []File) {
	rank := func(f File) int { return slices.Index([]string{indexFile, metaFile}, f.RelPath) }
	slices.SortFunc(files, func(a, b File) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		return strings.Compare(a.RelPath, b.RelPath)
	})
}

// checkRel confines the paths that a foreign meta.json lists to the block's own files.
func checkRel(rel string) error {
	if !isBlockFile(rel) {
		return fmt.Errorf("%q is not a file of a block", rel)
	}
	return nil
}
