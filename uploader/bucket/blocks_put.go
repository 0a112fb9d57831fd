// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/oklog/ulid/v2"
)

// PutBlock uploads the TSDB block in dir with the given external labels, which must not be empty, and source (such as
// SourceReceive). Chunks go first, then the index, and meta.json last: it is the commit point.
//
// It may be called again after any failure, also of another process: what is already there and right is not sent again.
// A block that is already visible is not touched. Every object is verified before meta.json is written, see verify. Tombstones
// and marks in dir are not uploaded.
func (b *Blocks) PutBlock(ctx context.Context, dir string, labels map[string]string, source string) error {
	return b.PutBlockAs(ctx, dir, Thanos{Labels: labels, Source: source})
}

// PutBlockAs is PutBlock for blocks that have more to say of themselves: labels, source, resolution, index statistics and
// extensions are taken from section, the rest of it is filled in.
func (b *Blocks) PutBlockAs(ctx context.Context, dir string, section Thanos) error {
	local, err := scanBlock(dir)
	if err != nil {
		return fmt.Errorf("upload block in %s: %w", dir, err)
	}
	id := local.meta.ULID
	if len(section.Labels) == 0 {
		return fmt.Errorf("upload block %s: it has no external labels, and nobody could tell whose it is", id)
	}
	section.Version = metaVersion
	section.SegmentFiles, section.Files = local.meta.Thanos.SegmentFiles, local.meta.Thanos.Files
	local.meta.Thanos = section
	if err := b.putBlock(ctx, local); err != nil {
		return fmt.Errorf("upload block %s: %w", id, err)
	}
	return nil
}

func (b *Blocks) putBlock(ctx context.Context, local localBlock) error {
	id := local.meta.ULID
	remote, err := b.sizes(ctx, id)
	if err != nil {
		return err
	}
	if _, ok := remote[metaFile]; ok {
		whole, err := b.isWhole(ctx, id, local, remote)
		if err != nil || whole {
			return err
		}
	}
	for i := range local.meta.Thanos.Files {
		file := &local.meta.Thanos.Files[i]
		if file.RelPath == metaFile {
			continue
		}
		size, there := remote[file.RelPath]
		if err := b.putFile(ctx, local, file, there && size == file.SizeBytes); err != nil {
			return err
		}
	}
	return b.putMeta(ctx, local.meta)
}

// sizes returns the bytes of each object that there is of a block.
func (b *Blocks) sizes(ctx context.Context, id ulid.ULID) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := b.bucket.List(ctx, id.String()+"/", true, func(o Object) error {
		if _, rel, ok := parseKey(o.Key); ok {
			sizes[rel] = o.Size
		}
		return nil
	})
	return sizes, err
}

// isWhole says whether the visible block is the local one with all its files. A torn meta.json, which some stores leave of
// a broken PUT, is no block and will be replaced.
func (b *Blocks) isWhole(ctx context.Context, id ulid.ULID, local localBlock, remote map[string]int64) (bool, error) {
	meta, err := b.Meta(ctx, id)
	switch {
	case errors.Is(err, ErrBadMeta), errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case meta.MinTime != local.meta.MinTime || meta.MaxTime != local.meta.MaxTime || meta.Stats.NumSamples != local.meta.Stats.NumSamples:
		return false, errors.New("another block with the same ULID is in the bucket")
	}
	for _, f := range local.meta.Thanos.Files {
		if size, ok := remote[f.RelPath]; !ok || (f.RelPath != metaFile && size != f.SizeBytes) {
			return false, nil
		}
	}
	return true, nil
}

// putFile makes sure that the object of one file is there and right, and notes its checksum. An object that an earlier
// attempt left behind is kept if it verifies.
func (b *Blocks) putFile(ctx context.Context, local localBlock, file *File, there bool) (err error) {
	f, err := os.Open(filepath.Join(local.dir, filepath.FromSlash(file.RelPath)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if n, err := copyAll(sum, f); err != nil || n != file.SizeBytes {
		return errors.Join(err, fmt.Errorf("read %d of %d bytes of %s", n, file.SizeBytes, file.RelPath))
	}
	file.Hash = &Hash{Func: hashSHA256, Value: hex.EncodeToString(sum.Sum(nil))}

	k := key(local.meta.ULID, file.RelPath)
	if there && b.verify(ctx, k, f, *file) == nil {
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := b.bucket.Put(ctx, k, f, file.SizeBytes); err != nil {
		return err
	}
	return b.verify(ctx, k, f, *file)
}

// putMeta commits the block and reads the commit back.
func (b *Blocks) putMeta(ctx context.Context, meta Meta) error {
	meta.Thanos.UploadTime = b.now().UTC()
	content, err := meta.Encode()
	if err != nil {
		return err
	}
	k := key(meta.ULID, metaFile)
	if err := b.bucket.Put(ctx, k, bytes.NewReader(content), int64(len(content))); err != nil {
		return err
	}
	got, err := b.read(ctx, k)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, content) {
		return fmt.Errorf("verify %s: the bucket returns other bytes than were written", k)
	}
	return b.stillThere(ctx, meta)
}

// stillThere looks once more for all files of a block that was just made visible: whoever cleans up uploads that were given
// up may have taken this one for one. The caller tries again, and what is missing is then written again.
func (b *Blocks) stillThere(ctx context.Context, meta Meta) error {
	remote, err := b.sizes(ctx, meta.ULID)
	if err != nil {
		return err
	}
	for _, f := range meta.Thanos.Files {
		if size, ok := remote[f.RelPath]; !ok || (f.RelPath != metaFile && size != f.SizeBytes) {
			return fmt.Errorf("verify: %s is gone from the bucket", key(meta.ULID, f.RelPath))
		}
	}
	return nil
}

// localBlock is a finished block on disk.
type localBlock struct {
	dir  string
	meta Meta // With Files in upload order, without checksums.
}

// scanBlock reads the meta.json of a block and lists its files.
func scanBlock(dir string) (localBlock, error) {
	content, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return localBlock{}, err
	}
	id, err := ulid.ParseStrict(filepath.Base(dir))
	if err != nil {
		return localBlock{}, fmt.Errorf("%q is not the name of a block", filepath.Base(dir))
	}
	meta, err := ParseMeta(id, content)
	if err != nil {
		return localBlock{}, err
	}
	chunks, err := os.ReadDir(filepath.Join(dir, chunksDir))
	if err != nil {
		return localBlock{}, err
	}
	meta.Thanos = Thanos{Version: metaVersion}
	rels := []string{indexFile}
	for _, c := range chunks {
		if rel := path.Join(chunksDir, c.Name()); isChunkFile(rel) {
			rels = append(rels, rel)
			meta.Thanos.SegmentFiles = append(meta.Thanos.SegmentFiles, c.Name())
		}
	}
	for _, rel := range rels {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(rel)))
		if err != nil {
			return localBlock{}, err
		}
		meta.Thanos.Files = append(meta.Thanos.Files, File{RelPath: rel, SizeBytes: info.Size()})
	}
	// Upload order is also the order of the paths, which is how Thanos lists them.
	meta.Thanos.Files = append(meta.Thanos.Files, File{RelPath: metaFile})
	uploadOrder(meta.Thanos.Files)
	return localBlock{dir: dir, meta: meta}, nil
}
