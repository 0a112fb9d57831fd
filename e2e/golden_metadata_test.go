// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/e2e/harness"
)

// metadata wants what a Prometheus has of the targets that it scrapes of what senders told. The text format has no units.
func (g *golden) metadata(t *testing.T) {
	var page strings.Builder
	scraped := map[string]goldenFamily{}
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	for _, name := range slices.Sorted(maps.Keys(goldenFamilies)) {
		f := goldenFamilies[name]
		if f.unit != "" || f.typ == model.MetricTypeGaugeHistogram {
			continue
		}
		scraped[name] = f
		typ := string(f.typ)
		if f.typ == model.MetricTypeUnknown {
			typ = "untyped"
		}
		fmt.Fprintf(&page, "# HELP %[1]q %[2]s\n# TYPE %[1]q %[3]s\n{%[1]q} 1\n", name, escape.Replace(f.help), typ)
	}
	prometheus := env.StartReceiver(t, fmt.Sprintf("scrape_configs:\n- job_name: x\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: [%q]\n",
		harness.StartTextTarget(t, page.String())))
	harness.Eventually(t, harness.Patience, "the target is scraped", func() error {
		if got := ask(t, prometheus, http.MethodGet, "/metadata", nil, ""); len(got.body) < 200 {
			return fmt.Errorf("%s", got.body)
		}
		return nil
	})
	for _, text := range []string{
		"metric=up", "metric=up&limit=1", "metric=up&limit=0", "metric=up&limit_per_metric=1", "metric=up&limit_per_metric=0", "metric=special",
		"metric=http.server.duration_", "metric=goes_away", "metric=native_custom_bucket", "metric=with_many_labels", "metric=ünïcode", "limit=0",
	} {
		query := g.form(text).Encode()
		want := ask(t, prometheus, http.MethodGet, "/metadata?"+query, nil, "")
		for _, side := range g.sides {
			for _, diff := range compareAnswers(text, want, ask(t, side, http.MethodGet, "/metadata?"+query, nil, "")) {
				t.Errorf("/metadata %s on %s: %s", text, side.Name, diff)
			}
		}
	}
	for _, side := range g.sides {
		for name, f := range scraped {
			typ, help, err := side.Metadata(name)
			if err != nil || typ != string(f.typ) || help != f.help {
				t.Errorf("%s has %q %q of %s, %v", side.Name, typ, help, name, err)
			}
		}
	}
}
