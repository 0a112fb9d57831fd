// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
)

// memHints is a hint log in memory.
type memHints struct {
	mu     sync.Mutex
	hints  map[string][][]byte
	short  []string
	broken error
}

func newMemHints() *memHints { return &memHints{hints: map[string][][]byte{}} }

func (h *memHints) Append(member string, payload []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return h.broken
	}
	h.hints[member] = append(h.hints[member], slices.Clone(payload))
	return nil
}

func (h *memHints) NoteShort(members string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.short = append(h.short, members)
}

func (h *memHints) Pending() map[string]hint.Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]hint.Stats{}
	for m, list := range h.hints {
		out[m] = hint.Stats{Records: len(list)}
	}
	return out
}

func (h *memHints) Replay(ctx context.Context, member string, send func(context.Context, []byte) error) (int, error) {
	for n := 0; ; n++ {
		h.mu.Lock()
		list := h.hints[member]
		h.mu.Unlock()
		if len(list) == 0 {
			return n, nil
		}
		if err := send(ctx, list[0]); err != nil {
			return n, err
		}
		h.mu.Lock()
		h.hints[member] = h.hints[member][1:]
		h.mu.Unlock()
	}
}

func (h *memHints) count(member string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.hints[member])
}

// series returns the series in the hints of a member, by their labels.
func (h *memHints) series(t *testing.T, member string) []string {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, payload := range h.hints[member] {
		tenant, body, err := readHint(payload)
		require.NoError(t, err)
		require.Equal(t, testTenant, tenant)
		pool := batchPool{limits: Limits{}.withDefaults()}
		b := pool.get(tenant)
		n, err := decodedSize(body, DefaultDecodedBytes)
		require.NoError(t, err)
		b.bodyBuf, err = decompress(body, nil, n)
		require.NoError(t, err)
		require.NoError(t, b.parse(protoV1, anyTime()))
		for i := range b.series {
			out = append(out, nameOf(b, &b.series[i]))
		}
	}
	slices.Sort(out)
	return out
}

// tenantOf is the tenant function of tests.
func tenantOf(r *http.Request) (string, error) {
	switch id := r.Header.Get(headerTenant); id {
	case "":
		return testTenant, nil
	case "bad":
		return "", errors.New("tenant id must match [A-Za-z0-9_-]{1,64}")
	default:
		return id, nil
	}
}

// oneNode returns the public handler of a cluster of one.
func oneNode(t testing.TB, store AppenderSource, change ...func(*HandlerConfig)) http.Handler {
	t.Helper()
	meta, err := OpenMetadata(MetadataConfig{Dir: t.TempDir()}, quietLogger(), nil)
	require.NoError(t, err)
	local := NewLocal(LocalConfig{Store: store, Metadata: meta}, nil)
	static := ring.NewStatic(ring.Member{Name: "a", State: ring.Active}, 1)
	d := NewDistributor(DistributorConfig{RF: 1, View: static.View, Local: local, Hints: newMemHints()}, quietLogger(), nil)
	t.Cleanup(d.Close)
	cfg := HandlerConfig{Writer: d, Tenant: tenantOf}
	for _, c := range change {
		c(&cfg)
	}
	return NewHandler(cfg, quietLogger(), nil)
}
