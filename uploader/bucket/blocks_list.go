// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
)

// fetchConcurrency bounds how many small objects a listing reads at once. The first listing of a bucket with a year of
// blocks reads thousands, and each is one round trip.
const fetchConcurrency = 16

// Listing is what is in the bucket at one time.
type Listing struct {
	// At is when the listing began: what was uploaded before is in it.
	At      time.Time
	Blocks  []Listed  // Visible blocks, by ULID.
	Partial []Partial // What is not a block, or not yet, or no more; by ULID.
	// Problems are objects that could not be understood, with their block in the error. A bad meta.json makes its block
	// partial; a bad mark counts as absent.
	Problems []error
}

// Listed is one visible block.
type Listed struct {
	Meta  Meta
	Marks Marks
	Bytes int64 // Of all its files, without marks.
}

// Partial is a directory without a readable meta.json: an upload under way or given up, or a delete under way.
type Partial struct {
	ID           ulid.ULID
	HasMeta      bool // There is a meta.json that is not torn and cannot be understood; perhaps by this version only.
	Objects      int
	Bytes        int64
	LastModified time.Time // Of the newest object.
	Marks        Marks
}

// cachedContent is a small object that was read before; it is not read again while its version is the same.
type cachedContent struct {
	version string
	meta    *Meta
	marks   Marks
	err     error // It was read and could not be understood.
}

// Metas lists the bucket. It costs one request for each thousand objects, plus one for each meta.json and mark that this
// Blocks has not read before. It fails as a whole if the store does: a listing is complete or there is none.
func (b *Blocks) Metas(ctx context.Context) (Listing, error) {
	begin := b.now()
	found := map[ulid.ULID]*blockObjects{}
	err := b.bucket.List(ctx, "", true, func(o Object) error {
		if id, rel, ok := parseKey(o.Key); ok {
			if found[id] == nil {
				found[id] = &blockObjects{}
			}
			found[id].add(rel, o)
		}
		return nil
	})
	if err != nil {
		return Listing{}, fmt.Errorf("list blocks: %w", err)
	}
	contents, err := b.fetchSmall(ctx, found)
	if err != nil {
		return Listing{}, fmt.Errorf("list blocks: %w", err)
	}
	listing := assemble(found, contents)
	listing.At = begin
	return listing, nil
}

// blockObjects gathers the entries of one block in a listing.
type blockObjects struct {
	small    []Object // meta.json and marks: what has to be read.
	objects  int
	bytes    int64 // Of the block's files.
	modified time.Time
}

func (o *blockObjects) add(rel string, obj Object) {
	o.objects++
	if isBlockFile(rel) {
		o.bytes += obj.Size
	}
	if obj.ModTime.After(o.modified) {
		o.modified = obj.ModTime
	}
	if rel == metaFile || isMark(rel) {
		o.small = append(o.small, obj)
	}
}

// fetchSmall returns meta.json and marks of all blocks by key, from the cache where the version is the same. Objects that
// went away since they were listed are left out.
func (b *Blocks) fetchSmall(ctx context.Context, found map[ulid.ULID]*blockObjects) (map[string]cachedContent, error) {
	b.mu.Lock()
	cache := b.cache
	b.mu.Unlock()

	var mu sync.Mutex
	contents := map[string]cachedContent{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(fetchConcurrency)
	for id, objects := range found {
		for _, o := range objects.small {
			version := fmt.Sprint(o.ETag, o.Size, o.ModTime.UnixNano())
			if c, ok := cache[o.Key]; ok && c.version == version {
				mu.Lock()
				contents[o.Key] = c
				mu.Unlock()
				continue
			}
			group.Go(func() error {
				c, err := b.fetchOne(ctx, id, o.Key)
				if errors.Is(err, ErrNotFound) {
					return nil
				}
				c.version = version
				mu.Lock()
				contents[o.Key] = c
				mu.Unlock()
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.cache = contents // Never changed after this; what is gone from the bucket is gone from the cache.
	b.mu.Unlock()
	return contents, nil
}

func (b *Blocks) fetchOne(ctx context.Context, id ulid.ULID, k string) (cachedContent, error) {
	content, err := b.read(ctx, k)
	if err != nil {
		return cachedContent{}, err
	}
	_, rel, _ := parseKey(k)
	var c cachedContent
	if rel == metaFile {
		meta, err := ParseMeta(id, content)
		c.meta, c.err = &meta, err
	} else {
		c.err = c.marks.set(rel, content)
	}
	if c.err != nil {
		c.err = fmt.Errorf("block %s: %w", id, c.err)
	}
	return c, nil
}

// assemble puts what was read back together by block.
func assemble(found map[ulid.ULID]*blockObjects, contents map[string]cachedContent) Listing {
	var l Listing
	for id, objects := range found {
		var meta *Meta
		var marks Marks
		hasMeta := false
		for _, o := range objects.small {
			c, ok := contents[o.Key]
			switch {
			case !ok:
			case c.err != nil:
				l.Problems = append(l.Problems, c.err)
				hasMeta = hasMeta || (errors.Is(c.err, ErrBadMeta) && !errors.Is(c.err, errTorn))
			case c.meta != nil:
				meta = c.meta
			case c.marks.Deletion != nil:
				marks.Deletion = c.marks.Deletion
			case c.marks.NoCompact != nil:
				marks.NoCompact = c.marks.NoCompact
			case c.marks.NoDownsample != nil:
				marks.NoDownsample = c.marks.NoDownsample
			}
		}
		if meta == nil {
			l.Partial = append(l.Partial, Partial{
				ID: id, HasMeta: hasMeta, Objects: objects.objects, Bytes: objects.bytes, LastModified: objects.modified, Marks: marks,
			})
			continue
		}
		l.Blocks = append(l.Blocks, Listed{Meta: *meta, Marks: marks, Bytes: objects.bytes})
	}
	slices.SortFunc(l.Blocks, func(x, y Listed) int { return x.Meta.ULID.Compare(y.Meta.ULID) })
	slices.SortFunc(l.Partial, func(x, y Partial) int { return x.ID.Compare(y.ID) })
	slices.SortFunc(l.Problems, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	return l
}
