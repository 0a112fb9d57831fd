// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// exception is one question of the suite that a layout answers differently, and rightly so.
type exception struct {
	file string
	line int
	eval string
	// layouts in which it is so.
	layouts []string
	why     string
}

const (
	withHoles = "copies with holes"
	inBucket  = "half in the bucket"

	// Whether a counter was reset before a histogram is said by the copy that has both. Where the one before is on other copies
	// only, or in another block, nobody has written it down. PromQL then compares for itself, so that rates are the same; what differs is
	// a hint that is shown, or a warning that hints disagree.
	unknownHint = "the histogram before this one is not in the copy that has this one: its hint is unknown"
)

// exceptions are all that there are.
var exceptions = []exception{
	{"native_histograms.test", 1747, "eval instant at 5m sum(metric)", []string{withHoles}, unknownHint},
	{"native_histograms.test", 1752, "eval instant at 5m avg(metric)", []string{withHoles}, unknownHint},
	{"native_histograms.test", 1821, "eval instant at 3m sum_over_time(mixed[3m])", []string{withHoles}, unknownHint},
	{"native_histograms.test", 1826, "eval instant at 3m avg_over_time(mixed[3m])", []string{withHoles}, unknownHint},
	{"native_histograms.test", 1880, "eval instant at 11m histogram_count(sum_over_time(mixed[2m]))", []string{withHoles}, unknownHint},
	{"native_histograms.test", 1885, "eval instant at 11m histogram_count(avg_over_time(mixed[2m]))", []string{withHoles}, unknownHint},
	{"range_queries.test", 93, "eval instant at 2m some_metric[2m]", []string{withHoles, inBucket}, unknownHint},
}

// TestBuiltinSuite runs all of Prometheus' own tests in each layout.
func TestBuiltinSuite(t *testing.T) {
	files := suiteFiles(t)
	for _, layout := range []struct {
		name string
		open func(testing.TB) storage.Storage
	}{
		{"identical copies", identical},
		{"pair", pair},
		{withHoles, holes},
		{inBucket, halfInBucket},
	} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
			for _, file := range files {
				t.Run(filepath.Base(file), func(t *testing.T) {
					promqltest.RunTestWithStorage(t, without(t, file, layout.name), engine, layout.open)
				})
			}
		})
	}
}

// suiteFiles are those that promqltest has inside of it, which it does not hand out.
func suiteFiles(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/prometheus/prometheus/promql/promqltest").Output()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "*.test"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// without reads a file and blanks the exceptions of a layout.
func without(t *testing.T, file, layout string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	for _, e := range exceptions {
		if e.file != filepath.Base(file) || !slices.Contains(e.layouts, layout) {
			continue
		}
		require.Equal(t, e.eval, lines[e.line-1], "the suite has changed: %s line %d", e.file, e.line)
		require.NotEmpty(t, e.why)
		for i := e.line - 1; strings.TrimSpace(lines[i]) != ""; i++ {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}
