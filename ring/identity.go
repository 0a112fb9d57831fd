// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	identityFile    = "member.json"
	identityVersion = 1
)

// Identity is who the owner of a data directory is. It is made once, and stays
// with the directory.
type Identity struct {
	// Name of the member, stable over restarts.
	Name string
	// Generation differs between two data directories; see Member.Generation.
	Generation uint64
	// Created is when the directory was first used.
	Created time.Time
}

// identityJSON is the content of member.json; see docs/format/member.md.
type identityJSON struct {
	Version    int       `json:"version"`
	Name       string    `json:"name"`
	Generation uint64    `json:"generation"`
	Created    time.Time `json:"created"`
}

// LoadIdentity returns the identity kept in dir, or makes one: with the given
// name, or the host name if that is empty. A name that differs from the kept one
// is an error, because the slots of a member follow its name.
func LoadIdentity(dir, name string) (Identity, error) {
	path := filepath.Join(dir, identityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createIdentity(path, name)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	id, err := parseIdentity(data)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity %s: %w; restore the file, or start on an empty data directory", path, err)
	}
	if name != "" && name != id.Name {
		return Identity{}, fmt.Errorf("the data in %s belongs to member %q, but --cluster.name is %q: start with --cluster.name=%s, or drain this member and start %q on an empty data directory", dir, id.Name, name, id.Name, name)
	}
	return id, nil
}

func createIdentity(path, name string) (Identity, error) {
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return Identity{}, fmt.Errorf("find a member name: %w; set --cluster.name", err)
		}
		name = host
	}
	if err := ValidateName(name); err != nil {
		return Identity{}, err
	}
	now := time.Now().UTC().Round(0)
	id := Identity{Name: name, Generation: uint64(now.UnixNano()), Created: now}
	data, err := json.MarshalIndent(identityJSON{identityVersion, id.Name, id.Generation, id.Created}, "", "\t")
	if err != nil {
		return Identity{}, fmt.Errorf("encode identity: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	if err := replaceFile(path, append(data, '\n')); err != nil {
		return Identity{}, fmt.Errorf("create identity: %w", err)
	}
	return id, nil
}

func parseIdentity(data []byte) (Identity, error) {
	var file identityJSON
	if err := json.Unmarshal(data, &file); err != nil {
		return Identity{}, err
	}
	if file.Version != identityVersion {
		return Identity{}, fmt.Errorf("version %d is not %d, the one this penstock knows", file.Version, identityVersion)
	}
	if err := ValidateName(file.Name); err != nil {
		return Identity{}, err
	}
	if file.Generation == 0 {
		return Identity{}, errors.New("the generation is missing")
	}
	return Identity{Name: file.Name, Generation: file.Generation, Created: file.Created}, nil
}
