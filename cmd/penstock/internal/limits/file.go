// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v2"

	"github.com/penstock-io/penstock/tsdbstore"
)

// Node is what holds for all tenants of a node together.
type Node struct {
	// RequireTenant refuses requests that name no tenant; else they are of the
	// default one.
	RequireTenant bool `yaml:"require_tenant" json:"require_tenant"`
	// MaxTenants bounds the tenants with a TSDB here.
	MaxTenants int `yaml:"max_tenants" json:"max_tenants"`
	// MaxSeries bounds the series in the heads of all tenants; 0 is no limit.
	MaxSeries int `yaml:"max_series" json:"max_series"`
}

// Set is what one version of the file says. It is never changed.
type Set struct {
	Node     Node
	Defaults Tenant
	Tenants  map[string]*Tenant
}

// Of returns the limits of a tenant.
func (s *Set) Of(tenant string) *Tenant {
	if t, ok := s.Tenants[tenant]; ok {
		return t
	}
	return &s.Defaults
}

// file is the outermost level of the file.
type file struct {
	Node     section            `yaml:"node"`
	Defaults section            `yaml:"defaults"`
	Tenants  map[string]section `yaml:"tenants"`
}

// Parse reads the file. validTenant tells which names a tenant can have. An error is
// one line that names the key and its section.
func Parse(content []byte, validTenant func(string) bool) (*Set, error) {
	var file file
	if err := decodeFile(content, &file); err != nil {
		return nil, sectionError("", err, &file)
	}
	s := &Set{
		Node:     Node{MaxTenants: tsdbstore.DefaultMaxTenants},
		Defaults: builtIn(),
		Tenants:  make(map[string]*Tenant, len(file.Tenants)),
	}
	if err := file.Node.into("node", &s.Node); err != nil {
		return nil, err
	}
	if s.Node.MaxTenants < 1 || s.Node.MaxSeries < 0 {
		return nil, errors.New(`section "node": max_tenants must be at least 1 and max_series at least 0`)
	}
	if err := file.Defaults.into("defaults", &s.Defaults); err != nil {
		return nil, err
	}
	if err := s.Defaults.finish(); err != nil {
		return nil, fmt.Errorf("section %q: %w", "defaults", err)
	}
	for _, name := range slices.Sorted(maps.Keys(file.Tenants)) {
		own, where := file.Tenants[name], "tenants."+name
		if !validTenant(name) {
			return nil, fmt.Errorf("section %q: %.80q cannot be the name of a tenant", "tenants", name)
		}
		t := s.Defaults
		if err := own.into(where, &t); err != nil {
			return nil, err
		}
		if err := t.finish(); err != nil {
			return nil, fmt.Errorf("section %q: %w", where, err)
		}
		s.Tenants[name] = &t
	}
	return s, nil
}

// decodeFile decodes the one document that a file may have; none is an empty one.
func decodeFile(content []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.SetStrict(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("the file has more than one YAML document")
	}
	return nil
}

// section is decoded when the values that it overrides are known.
type section struct{ decode func(any) error }

// UnmarshalYAML implements yaml.Unmarshaler.
func (s *section) UnmarshalYAML(unmarshal func(any) error) error {
	s.decode = unmarshal
	return nil
}

func (s section) into(name string, target any) error {
	if s.decode == nil {
		return nil // It is not there, or empty.
	}
	if err := s.decode(target); err != nil {
		return sectionError(name, err, target)
	}
	return nil
}

var unknownKey = regexp.MustCompile(`^(line \d+: )field (.*) not found$`)

// sectionError makes one line of what the YAML library says on several, without the
// names of Go types, and lists the known keys when one is unknown.
func sectionError(name string, err error, target any) error {
	where := "top level"
	if name != "" {
		where = fmt.Sprintf("section %q", name)
	}
	var typeErr *yaml.TypeError
	if !errors.As(err, &typeErr) {
		return fmt.Errorf("%s: %s", where, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	lines := make([]string, len(typeErr.Errors))
	for i, line := range typeErr.Errors {
		line, _, _ = strings.Cut(line, " in type ")
		line, _, _ = strings.Cut(line, " into limits.")
		if m := unknownKey.FindStringSubmatch(line); m != nil {
			line = fmt.Sprintf("%sunknown key %q; known keys there: %s", m[1], m[2], strings.Join(keys(target), ", "))
		}
		lines[i] = line
	}
	return fmt.Errorf("%s: %s", where, strings.Join(lines, "; "))
}

// keys are the YAML keys of the struct that target points to.
func keys(target any) []string {
	var names []string
	for field := range reflect.TypeOf(target).Elem().Fields() {
		if key := field.Tag.Get("yaml"); key != "" {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}
