// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ingest"
	querylimit "github.com/penstock-io/penstock/querier/limit"
	"github.com/penstock-io/penstock/tsdbstore"
)

func validTenant(name string) bool { return !strings.ContainsAny(name, "/ .") }

func parse(t *testing.T, content string) *Set {
	t.Helper()
	s, err := Parse([]byte(content), validTenant)
	require.NoError(t, err)
	return s
}

func TestParse(t *testing.T) {
	s := parse(t, `
node:
  require_tenant: true
  max_tenants: 7
  max_series: 1000000
defaults:
  max_request_bytes: 1MiB
  max_decoded_bytes: 2097152
  max_label_names_per_series: 30
  ingestion_rate: 1000.5
tenants:
  big:
    max_label_names_per_series: 50
    ingestion_rate: 1e6
    ingestion_burst_size: 5000000
    max_series: 10
  same:
`)
	require.Equal(t, Node{RequireTenant: true, MaxTenants: 7, MaxSeries: 1000000}, s.Node)
	other := s.Of("other").Ingest()
	require.EqualValues(t, 1<<20, other.BodyBytes)
	require.EqualValues(t, 2<<20, other.DecodedBytes)
	require.Equal(t, 30, other.LabelsPerSeries)
	require.InDelta(t, 1000.5, other.SamplesPerSecond, 0)
	require.Equal(t, other, s.Of("same").Ingest(), "named, and nothing else")

	big := s.Of("big")
	require.EqualValues(t, 1<<20, big.Ingest().BodyBytes, "from defaults")
	require.Equal(t, 50, big.Ingest().LabelsPerSeries)
	require.InDelta(t, 1e6, big.Ingest().SamplesPerSecond, 0)
	require.Equal(t, 5000000, big.Ingest().BurstSamples)
	require.Equal(t, 10, big.MaxSeries)
}

// Without a file, or with nothing in it, the limits are those of the packages.
func TestParseNothing(t *testing.T) {
	for _, content := range []string{"", "# nothing\n", "---\n", "node:\ndefaults:\ntenants:\n", "{}"} {
		s := parse(t, content)
		require.Equal(t, ingest.DefaultLimits(), *s.Of("any").Ingest())
		require.Equal(t, Node{MaxTenants: tsdbstore.DefaultMaxTenants}, s.Node)
		require.Zero(t, s.Of("any").MaxSeries)
	}
}

func TestParseErrors(t *testing.T) {
	f := func(want, content string) {
		t.Helper()
		_, err := Parse([]byte(content), validTenant)
		require.EqualError(t, err, want)
	}
	f(`top level: line 1: unknown key "limits"; known keys there: defaults, node, tenants`, "limits: {}")
	f(`section "node": line 1: unknown key "max_tenant"; known keys there: max_series, max_tenants, require_tenant`, "node: {max_tenant: 1}")
	known := "ingestion_burst_size, ingestion_rate, max_decoded_bytes, max_exemplars_per_request, max_inflight_bytes, max_label_name_length, max_label_names_per_series, max_label_value_length, max_request_bytes, max_samples_per_request, max_series, max_series_per_request, " +
		"query_max_bytes, query_max_concurrency, query_max_expression_bytes, query_max_expression_depth, query_max_matchers, query_max_memory_bytes, query_max_range, " +
		"query_max_regex_bytes, query_max_samples, query_max_series, query_max_subquery_points, query_timeout, retention_1h, retention_5m, retention_raw"
	f(`section "defaults": line 2: unknown key "max_lables"; known keys there: `+known, "defaults:\n  max_lables: 1")
	f(`section "tenants.a": line 3: unknown key "rate"; known keys there: `+known, "tenants:\n  a:\n    rate: 1")
	f(`section "tenants.a": line 4: field max_series already set`, "tenants:\n  a:\n    max_series: 1\n    max_series: 2")
	f(`section "tenants": "a/b" cannot be the name of a tenant`, "tenants: {a/b: {}}")
	f(`section "defaults": line 1: cannot unmarshal !!str `+"`many`"+` into int`, "defaults: {max_series: many}")
	f(`section "defaults": "16 monkeys" is not a size such as 1048576 or 16MiB`, "defaults: {max_request_bytes: 16 monkeys}")
	f(`section "defaults": max_request_bytes is 67108865, it must be between 1 and 67108864`, "defaults: {max_request_bytes: 67108865}")
	f(`section "defaults": max_label_names_per_series is 0, it must be between 1 and 10000`, "defaults: {max_label_names_per_series: 0}")
	f(`section "tenants.a": ingestion_rate is -1, it must be between 0 and 1000000000000000`, "tenants: {a: {ingestion_rate: -1}}")
	f(`section "tenants.a": ingestion_rate is NaN, it must be between 0 and 1000000000000000`, "tenants: {a: {ingestion_rate: .nan}}")
	f(`section "defaults": ingestion_burst_size does nothing without ingestion_rate; set both`, "defaults: {ingestion_burst_size: 5}")
	f(`section "node": max_tenants must be at least 1 and max_series at least 0`, "node: {max_tenants: 0}")
	f(`top level: the file has more than one YAML document`, "node: {}\n---\nnode: {}")
	f(`top level: line 1: cannot unmarshal !!seq`, "- a")
	f(`top level: line 1: did not find expected node content`, "node: {\n")
}

// The tables of docs/limits.md have every key with its default, and no other.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "limits.md"))
	require.NoError(t, err)
	documented := map[string]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 6 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		documented[name] = strings.TrimSpace(cells[2])
	}
	defaults := builtIn()
	want := map[string]string{"node.require_tenant": "false", "node.max_tenants": number(tsdbstore.DefaultMaxTenants), "node.max_series": "none"}
	want["retention_raw"], want["retention_5m"], want["retention_1h"] = "`--retention.raw`", "`--retention.5m`", "`--retention.1h`"
	queries := allQueryLimits()
	for _, l := range queries.queries() {
		want[l.name] = "`" + querylimit.Name(l.name).Flag() + "`"
	}
	want[string(querylimit.Concurrency)] = "none" // The flag is of the node.
	for _, l := range defaults.limits() {
		want[l.name] = number(l.value)
		if l.value == 0 {
			want[l.name] = "none"
		}
	}
	for key, text := range want {
		require.Contains(t, documented, key)
		got := documented[key]
		if size := new(Bytes); strings.HasSuffix(got, "iB") {
			require.NoError(t, size.UnmarshalYAML(func(v any) error {
				if s, ok := v.(*string); ok {
					*s = got
					return nil
				}
				return os.ErrInvalid
			}))
			got = number(float64(*size))
		}
		require.Equal(t, text, strings.ReplaceAll(got, ",", ""), key)
	}
	require.Len(t, documented, len(want))
}

// The names in answers and metrics are the keys of the file.
func TestNamesAreKeys(t *testing.T) {
	var names []string
	set := Retention{Set: true}
	everything := allQueryLimits()
	everything.RetentionRaw, everything.Retention5m, everything.Retention1h = set, set, set
	for _, l := range everything.limits() {
		names = append(names, l.name)
	}
	require.ElementsMatch(t, keys(&Tenant{}), names)
}
