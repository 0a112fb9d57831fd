// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	metaVersion   = 1 // Of TSDB's part of meta.json, and of Thanos' section.
	hashSHA256    = "SHA256"
	metaBytesMax  = 64 << 20 // A block compacted from thousands of sources has megabytes; more is not a meta.json.
	SourceReceive = "receive"
)

// Meta is the content of meta.json: TSDB's own description of a block and the section that Thanos adds in a bucket.
type Meta struct {
	tsdb.BlockMeta

	Thanos Thanos `json:"thanos"`
}

// Thanos is the "thanos" section of meta.json.
type Thanos struct {
	Version    int               `json:"version,omitempty"`
	Labels     map[string]string `json:"labels"` // External labels; they tell tenants, copies and compaction groups apart.
	Downsample Downsample        `json:"downsample"`
	Source     string            `json:"source"` // What kind of component wrote the block: "receive", "sidecar", "compactor"...

	SegmentFiles []string `json:"segment_files,omitempty"` // Names in chunks/, in order.
	Files        []File   `json:"files,omitempty"`         // Ordered by path, meta.json without a size.

	IndexStats IndexStats `json:"index_stats"`
	// Extensions and Rewrites belong to whoever wrote them and are passed on as they are.
	Extensions json.RawMessage `json:"extensions,omitempty"`
	Rewrites   json.RawMessage `json:"rewrites,omitempty"`
	// UploadTime is when meta.json was written to the bucket.
	UploadTime time.Time `json:"upload_time,omitzero"`
}

// Downsample says how far apart the samples of a block are.
type Downsample struct {
	Resolution int64 `json:"resolution"` // ms; 0 for raw samples, 300000 or 3600000 for aggregates.
}

// IndexStats helps readers to guess how many bytes to fetch.
type IndexStats struct {
	SeriesMaxSize int64 `json:"series_max_size,omitempty"`
	ChunkMaxSize  int64 `json:"chunk_max_size,omitempty"`
}

// File is one object of a block.
type File struct {
	RelPath   string `json:"rel_path"`
	SizeBytes int64  `json:"size_bytes,omitempty"`
	Hash      *Hash  `json:"hash,omitempty"`
}

// Hash is a checksum of a file's content.
type Hash struct {
	Func  string `json:"hashFunc"` // "SHA256" or empty.
	Value string `json:"value"`    // Lower-case hexadecimal.
}

// ErrBadMeta says that a meta.json cannot be understood: torn, of another version, or not one at all.
var ErrBadMeta = errors.New("bad meta.json")

// errTorn says that a meta.json ends too early, or is no JSON at all: a PUT that broke left it, and it says nothing.
var errTorn = fmt.Errorf("%w: it is torn", ErrBadMeta)

// ParseMeta reads the content of the meta.json of block id. Errors are ErrBadMeta.
func ParseMeta(id ulid.ULID, content []byte) (Meta, error) {
	var m Meta
	if err := json.Unmarshal(content, &m); err != nil {
		if !json.Valid(content) {
			return Meta{}, fmt.Errorf("%w: %w", errTorn, err)
		}
		return Meta{}, fmt.Errorf("%w: %w", ErrBadMeta, err)
	}
	switch {
	case m.Version != metaVersion:
		return Meta{}, fmt.Errorf("%w: version %d, want %d", ErrBadMeta, m.Version, metaVersion)
	case m.Thanos.Version != metaVersion && m.Thanos.Version != 0: // The first writers left it out.
		return Meta{}, fmt.Errorf("%w: thanos version %d, want %d", ErrBadMeta, m.Thanos.Version, metaVersion)
	case m.ULID != id:
		return Meta{}, fmt.Errorf("%w: it is of block %s", ErrBadMeta, m.ULID)
	}
	return m, nil
}

// Encode returns the content of meta.json, indented by tabs as Thanos does it.
func (m Meta) Encode() ([]byte, error) { return encodeJSON(m) }

func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "\t")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
