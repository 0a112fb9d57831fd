// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package order

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// TestOf: the order is that of labels.Compare, whatever is in the labels.
func TestOf(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	word := func(alphabet string) string {
		b := make([]byte, rnd.IntN(12))
		for i := range b {
			b[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(b)
	}
	for range 2000 {
		alphabet := []string{"a", "ab", "a\x01\xff", "a\x00", "0123456789.:"}[rnd.IntN(5)]
		sets := make([]labels.Labels, rnd.IntN(100))
		for i := range sets {
			b := labels.NewBuilder(labels.FromStrings("__name__", "metric_with_a_name", "cluster", "eu"))
			for range rnd.IntN(4) {
				b.Set("l"+word("ab"), word(alphabet)+"v")
			}
			sets[i] = b.Labels()
		}
		if rnd.IntN(4) == 0 {
			slices.SortFunc(sets, labels.Compare)
		}
		sorted := slices.IsSortedFunc(sets, labels.Compare)
		indices := Of(len(sets), func(i int) labels.Labels { return sets[i] })
		require.Equal(t, sorted, indices == nil)
		if sorted {
			continue
		}
		got := make([]labels.Labels, 0, len(sets))
		for _, i := range indices {
			got = append(got, sets[i])
		}
		slices.SortFunc(sets, labels.Compare)
		require.Equal(t, sets, got)
	}
}

// BenchmarkOf sorts series as a head has them: of one metric, in the order of targets that were scraped.
func BenchmarkOf(b *testing.B) {
	sets := make([]labels.Labels, 20_000)
	for i := range sets {
		job := i % 100
		sets[i] = labels.FromStrings(
			"__name__", "http_requests_total", "cluster", "eu-west-1-production", "handler", fmt.Sprintf("/api/v1/%d", i/100%10),
			"instance", fmt.Sprintf("10.%d.%d.%d:9100", job, i/1000/250, i/1000%250), "job", fmt.Sprintf("service-%02d", job),
			"pod", fmt.Sprintf("service-%02d-7d9f8c6b5-%05x", job, i/1000),
		)
	}
	b.Run("texts", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Of(len(sets), func(i int) labels.Labels { return sets[i] })
		}
	})
	b.Run("compare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			slices.SortFunc(slices.Clone(sets), labels.Compare)
		}
	})
}
