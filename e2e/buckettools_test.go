// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// toolRow is what `penstock bucket ls` promises of a block.
type toolRow struct {
	ULID    string            `json:"ulid"`
	Labels  map[string]string `json:"labels"`
	Series  int               `json:"series"`
	Samples int               `json:"samples"`
	Marks   []struct {
		Kind string `json:"kind"`
	} `json:"marks"`
}

// TestBucketTools: old metrics come into a bucket in S3, are checked, changed and queried.
func TestBucketTools(t *testing.T) {
	s3, dir := env.StartS3(t), harness.Dir(t)
	content := s3.ObjstoreConfig("tools")
	config := "--objstore.config-file=" + harness.WriteFile(t, dir, "s3.yml", content)
	data := filepath.Join(dir, "prometheus")
	tool := func(wantCode int, args ...string) string {
		t.Helper()
		code, out := env.RunPenstock(t, args...)
		if code != wantCode {
			t.Fatalf("penstock %s: exit code %d, want %d: %s", strings.Join(args, " "), code, wantCode, out)
		}
		return out
	}
	ls := func() []toolRow {
		t.Helper()
		var rows []toolRow
		if err := json.Unmarshal([]byte(tool(0, "bucket", "ls", config, "--output=json")), &rows); err != nil {
			t.Fatalf("penstock bucket ls: %v", err)
		}
		return rows
	}

	// Ten series, a sample a minute, six hours in three blocks.
	tool(0, "loadgen", "blocks", "--dir="+data, "--series=10", "--interval=1m", "--from=2026-01-05T00:00:00Z", "--until=2026-01-05T06:00:00Z")
	tool(0, "import", config, "--source.dir="+data)
	rows := ls()
	if len(rows) != 3 || rows[0].Series != 10 || rows[0].Samples != 1200 || rows[0].Labels["tenant_id"] != "default-tenant" {
		t.Fatalf("imported blocks are %+v", rows)
	}
	tool(0, "bucket", "verify", config)
	tool(0, "bucket", "rewrite", config, "--id="+rows[2].ULID, `--delete-series={job="job-1"}`)
	if out := tool(2, "bucket", "verify", config, "--strict", "--no-data", "--id="+damage(t, content, rows[1].ULID)); !strings.Contains(out, "meta.json") {
		t.Fatalf("a torn meta.json is found as: %s", out)
	}
	out := tool(0, "import", config, "--source.dir="+data)
	if !strings.Contains(out, "1 of 3 blocks imported") {
		t.Fatalf("the damaged block is imported again: %s", out)
	}
	tool(0, "bucket", "verify", config)
	out = tool(0, "bucket", "cleanup", config, "--delete-delay=0s")
	if !strings.Contains(out, rows[2].ULID) || len(ls()) != 3 {
		t.Fatalf("what was rewritten is deleted: %s", out)
	}

	node := env.StartLoneNode(t, filepath.Join(dir, "node"), config, "--no-compact.enabled")
	at := time.Date(2026, 1, 5, 5, 59, 0, 0, time.UTC)
	// Counters rise by 1+j a second, for j of job-j from 0 to 4. In the last block job-1 was deleted.
	for query, want := range map[string]float64{
		`sum(rate(loadgen_counter_total[1h]))`:                   1 + 3 + 4 + 5,
		`sum(rate(loadgen_counter_total[1h] offset 2h))`:         1 + 2 + 3 + 4 + 5,
		`count(count_over_time({job="job-1"}[2h] offset 2h))`:    2,
		`sum(avg_over_time(loadgen_gauge{job=~"job-[24]"}[1h]))`: 5 + 9 + 2*29.5,
		`sum(count_over_time({__name__=~"loadgen_.*"}[6h]))`:     3600 - 2*120,
	} {
		resp, err := node.Query(query, at, harness.Options{})
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		got, err := resp.Scalar()
		if err != nil || math.Abs(got-want) > 1e-6 {
			t.Fatalf("%s is %v, %v, and by the formula %v: %s", query, got, err, want, resp.Body)
		}
	}
}

// damage cuts the meta.json of a block off, as a broken PUT leaves it, and returns the block.
func damage(t *testing.T, config, id string) string {
	t.Helper()
	cfg, err := bucket.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bucket.Open(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := b.Get(t.Context(), id+"/meta.json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), id+"/meta.json", bytes.NewReader(content[:100]), 100); err != nil {
		t.Fatal(err)
	}
	return id
}
