// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files of a MetadataStore; docs/format/metadata.md describes them.

const (
	metadataVersion = 1
	metadataSuffix  = ".json"
	// metadataFileFactor is how many times the bound a file may be: JSON escapes.
	metadataFileFactor = 8
)

type metadataFile struct {
	Version  int        `json:"version"`
	Families []Metadata `json:"families"`
}

// fileSafe tells whether a tenant's name can be a file name. Handlers allow no
// others; a path is not the place to rely on it.
func fileSafe(tenant string) bool {
	return tenant != "" && filepath.Base(tenant) == tenant && !strings.HasPrefix(tenant, ".")
}

func (s *MetadataStore) load() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("create metadata directory: %w", err)
	}
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("read metadata directory: %w", err)
	}
	for _, e := range entries {
		tenant, ok := strings.CutSuffix(e.Name(), metadataSuffix)
		if !ok || !fileSafe(tenant) || len(s.tenants) >= s.cfg.MaxTenants {
			continue
		}
		t, err := s.loadTenant(filepath.Join(s.cfg.Dir, e.Name()))
		if err != nil {
			s.metrics.damaged.Inc()
			s.logger.Warn("metadata file not readable; it will be replaced", "tenant", tenant, "err", err)
			continue
		}
		s.tenants[tenant] = t
	}
	return nil
}

func (s *MetadataStore) loadTenant(path string) (*tenantMetadata, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > s.cfg.MaxBytes*metadataFileFactor {
		return nil, fmt.Errorf("file has %d bytes, more than the bound allows", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file metadataFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if file.Version != metadataVersion {
		return nil, fmt.Errorf("file has version %d, want %d", file.Version, metadataVersion)
	}
	t := &tenantMetadata{families: map[string]*family{}}
	for _, m := range file.Families {
		if t.bytes+m.bytes() > s.cfg.MaxBytes {
			break
		}
		t.bytes += m.bytes()
		t.families[m.Name] = &family{Metadata: m}
	}
	return t, nil
}

// Flush writes the metadata of every tenant that has changed. The rename of its file
// makes a tenant's change durable.
func (s *MetadataStore) Flush() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	var errs []error
	for tenant, families := range s.takeDirty() {
		if err := s.writeTenant(tenant, families); err != nil {
			s.markDirty(tenant)
			errs = append(errs, fmt.Errorf("write metadata of tenant %s: %w", tenant, err))
		}
	}
	return errors.Join(errs...)
}

func (s *MetadataStore) takeDirty() map[string][]Metadata {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := map[string][]Metadata{}
	for tenant, t := range s.tenants {
		if t.dirty {
			t.dirty = false
			dirty[tenant] = t.sorted()
		}
	}
	return dirty
}

func (s *MetadataStore) markDirty(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants[tenant].dirty = true
}

func (s *MetadataStore) writeTenant(tenant string, families []Metadata) error {
	data, err := json.Marshal(metadataFile{Version: metadataVersion, Families: families})
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(s.cfg.Dir, tenant+metadataSuffix), data)
}

// replaceFile writes a file so that a reader, or a crash, sees the old content or
// the new one.
func replaceFile(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err = tmp.Write(data); err != nil {
		_ = tmp.Close()
		return err
	}
	if err = tmp.Sync(); err != nil {
		_ = tmp.Close()
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
