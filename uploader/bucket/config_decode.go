// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v2"
)

// objstoreFile is the outermost level of the file, with the config section of one type of bucket.
type objstoreFile[Section any] struct {
	Type   string   `yaml:"type"`
	Config *Section `yaml:"config"`
	Prefix string   `yaml:"prefix"`
}

// decodeFile decodes content, with what section holds as defaults. Any key that there is no field for, at any depth, is an
// error that names it, its section and the keys known there.
//
// Keys are checked on a generic copy and values decoded from the content itself: a secret such as 0123 is a number to
// generic YAML, and would come back as 83.
func decodeFile[Section any](content []byte, section *Section) (objstoreFile[Section], error) {
	file := objstoreFile[Section]{Config: section}
	var generic yaml.MapSlice
	if err := yaml.Unmarshal(content, &generic); err != nil {
		return file, yamlError(err)
	}
	if err := checkKeys(generic, "", reflect.TypeOf(file)); err != nil {
		return file, err
	}
	if err := yaml.UnmarshalStrict(content, &file); err != nil {
		return file, yamlError(err)
	}
	return file, nil
}

func checkKeys(section yaml.MapSlice, name string, t reflect.Type) error {
	known := map[string]reflect.Type{}
	for field := range t.Fields() {
		if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key != "" {
			known[key] = field.Type
		}
	}
	for _, item := range section {
		key := fmt.Sprint(item.Key)
		ft, ok := known[key]
		if !ok {
			return unknownKey(key, name, known)
		}
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		sub, isSection := item.Value.(yaml.MapSlice)
		if ft.Kind() != reflect.Struct || !isSection {
			continue
		}
		if name != "" {
			key = name + "." + key
		}
		if err := checkKeys(sub, key, ft); err != nil {
			return err
		}
	}
	return nil
}

func unknownKey(key, section string, known map[string]reflect.Type) error {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	where := fmt.Sprintf("in section %q", section)
	if section == "" {
		where = "at the top level"
	}
	return fmt.Errorf("unknown key %q %s; known keys there: %s", key, where, strings.Join(names, ", "))
}

// yamlError makes one line of what the YAML library says on several.
func yamlError(err error) error {
	var typeErr *yaml.TypeError
	if errors.As(err, &typeErr) {
		lines := make([]string, len(typeErr.Errors))
		for i, line := range typeErr.Errors {
			lines[i], _, _ = strings.Cut(line, " in type ") // Of Go, which means nothing to who wrote the file.
		}
		return errors.New(strings.Join(lines, "; "))
	}
	return errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
}
