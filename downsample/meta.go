// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/fileutil"
)

const (
	metaName      = "meta.json"
	indexName     = "index"
	chunksName    = "chunks"
	metaVersion   = 1
	dirMode       = 0o750
	fileMode      = 0o640
	thanosVersion = 1
	// writtenBy is what Thanos calls whoever downsamples.
	writtenBy = "compactor"
)

// meta is the content of a block's meta.json. Of Thanos' section only what downsampling changes is looked at; labels,
// extensions and what else there is go on as they are.
type meta struct {
	tsdb.BlockMeta

	Thanos map[string]json.RawMessage `json:"thanos"`
}

// errBadMeta says that a meta.json is not one.
var errBadMeta = errors.New("bad meta.json")

func readMeta(dir string) (meta, error) {
	content, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil {
		return meta{}, err
	}
	var m meta
	if err := json.Unmarshal(content, &m); err != nil {
		return meta{}, fmt.Errorf("%w: %w", errBadMeta, err)
	}
	if m.Version != metaVersion {
		return meta{}, fmt.Errorf("%w: version %d, want %d", errBadMeta, m.Version, metaVersion)
	}
	return m, nil
}

type resolutionOf struct {
	Resolution int64 `json:"resolution"`
}

// resolution returns that of the block, which is Raw when it does not say.
func (m *meta) resolution() (int64, error) {
	raw, ok := m.Thanos["downsample"]
	if !ok {
		return Raw, nil
	}
	var r resolutionOf
	if err := json.Unmarshal(raw, &r); err != nil {
		return 0, fmt.Errorf("%w: downsample: %w", errBadMeta, err)
	}
	return r.Resolution, nil
}

// set changes a key of Thanos' section.
func (m *meta) set(key string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		m.Thanos[key] = raw
	}
	return err
}

// downsampled makes of the meta of a block that of its downsampled one. Files, sizes and the time of the upload belonged to
// the former.
func (m *meta) downsampled(resolution int64, segments []string, maxChunk int) error {
	if m.Thanos == nil {
		m.Thanos = map[string]json.RawMessage{}
	}
	for _, key := range []string{"files", "upload_time", "index_stats"} {
		delete(m.Thanos, key)
	}
	return errors.Join(
		m.set("version", thanosVersion),
		m.set("downsample", resolutionOf{resolution}),
		m.set("source", writtenBy),
		m.set("segment_files", segments),
		m.set("index_stats", map[string]int{"chunk_max_size": maxChunk}),
	)
}

// write puts the meta into dir, indented as Thanos does it, and waits until it is on disk.
func (m *meta) write(dir string) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "\t")
	if err := enc.Encode(m); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, metaName), os.O_CREATE|os.O_WRONLY|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(buf.Bytes())
	if err == nil {
		err = fileutil.Fdatasync(f)
	}
	return errors.Join(err, f.Close())
}
