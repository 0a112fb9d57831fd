// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package penstock_test holds the shape of the module: which package may import
// which. DESIGN.md gives the reason for each edge.
package penstock_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/penstock-io/penstock"

// allowed is the import table of DESIGN.md. Packages below cmd may import
// everything; a package that is not listed may import none of ours. A new edge
// is a decision: change the table and say why in DESIGN.md.
var allowed = map[string][]string{
	"ingest":             {"ring", "ingest/hint"},
	"compactor":          {"downsample", "uploader/bucket"},
	"querier/blockstore": {"downsample", "uploader/bucket"},
	// The order of answers is one, whoever puts them together.
	"querier":       {"querier/order"},
	"querier/dedup": {"querier/order"},
	// What operators do to a bucket: by the layout that one package knows, and on directories that are blocks.
	"uploader/buckettool": {"uploader/bucket", "uploader/blockdir"},
	// The simulation plays whole clusters of the real code. Nothing imports it.
	"sim": {"ingest", "ingest/hint", "querier", "querier/dedup", "ring", "tsdbstore"},
	// Prometheus' own tests, over the whole read path.
	"querier/suite": {"querier", "querier/blockstore", "querier/dedup", "uploader/bucket"},
	// A conformance suite is part of what it tests.
	"uploader/bucket/buckettest": {"uploader/bucket"},
}

// forbiddenNames say nothing about what a package is for.
var forbiddenNames = []string{"util", "utils", "common", "types", "model", "pkg", "helpers"}

func TestImportTable(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		parts := strings.Split(name, "/")
		if slices.Contains(forbiddenNames, parts[len(parts)-1]) {
			t.Errorf("package %s: the name says nothing; name it after what it is for", name)
		}
		if parts[0] == "cmd" {
			continue
		}
		imports := p.Imports
		if name == "sim" || name == "querier/suite" {
			imports = append(imports, p.TestImports...)
		}
		for _, imported := range imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			if ok && !slices.Contains(allowed[name], ours) {
				t.Errorf("%s imports %s: the import table does not allow it", name, ours)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
	// Two packages are nothing but tests.
	TestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports", "./...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		packages = append(packages, p)
	}
}
