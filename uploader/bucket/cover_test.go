// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// numbered is a block that was made of the sources with the given numbers.
func numbered(n byte, labels map[string]string, sources ...byte) bucket.Listed {
	l := bucket.Listed{Meta: bucket.Meta{BlockMeta: tsdb.BlockMeta{ULID: ulid.ULID{15: n}}}}
	l.Meta.Thanos.Labels = labels
	for _, s := range sources {
		l.Meta.Compaction.Sources = append(l.Meta.Compaction.Sources, ulid.ULID{15: s})
	}
	return l
}

func TestCovered(t *testing.T) {
	member := func(name string) map[string]string {
		return map[string]string{"tenant_id": "t", "receive_replica": name}
	}
	merged := map[string]string{"tenant_id": "t"}
	marked := func(l bucket.Listed) bucket.Listed {
		l.Marks.Deletion = &bucket.DeletionMark{}
		return l
	}
	broken := func(l bucket.Listed) bucket.Listed {
		l.Marks.NoCompact = &bucket.NoCompactMark{Reason: bucket.ReasonBroken}
		return l
	}
	downsampled := func(l bucket.Listed) bucket.Listed {
		l.Meta.Thanos.Downsample.Resolution = 300_000
		return l
	}
	for name, c := range map[string]struct {
		blocks []bucket.Listed
		want   map[byte]byte
	}{
		"inputs by what was made of them":      {[]bucket.Listed{numbered(1, member("a")), numbered(2, member("b"), 2), numbered(3, merged, 1, 2)}, map[byte]byte{1: 3, 2: 3}},
		"a part that the other has not":        {[]bucket.Listed{numbered(1, merged, 1, 2), numbered(3, merged, 2, 3)}, nil},
		"of equal ones the oldest stays":       {[]bucket.Listed{numbered(5, merged, 1, 2), numbered(4, merged, 2, 1), numbered(6, merged, 1, 2)}, map[byte]byte{5: 4, 6: 4}},
		"tenants are apart":                    {[]bucket.Listed{numbered(1, member("a")), numbered(3, map[string]string{"tenant_id": "u"}, 1, 2)}, nil},
		"so are resolutions":                   {[]bucket.Listed{numbered(1, merged), downsampled(numbered(3, merged, 1))}, nil},
		"what goes covers nothing":             {[]bucket.Listed{numbered(1, merged), marked(numbered(3, merged, 1, 2))}, nil},
		"what goes is covered by what stays":   {[]bucket.Listed{marked(numbered(1, merged)), numbered(3, merged, 1)}, map[byte]byte{1: 3}},
		"what cannot be read covers nothing":   {[]bucket.Listed{numbered(4, merged, 1, 2), broken(numbered(3, merged, 1, 2, 5))}, nil},
		"it is covered, though older":          {[]bucket.Listed{numbered(4, merged, 1, 2), broken(numbered(3, merged, 1, 2))}, map[byte]byte{3: 4}},
		"what goes covers what cannot be read": {[]bucket.Listed{marked(numbered(4, merged, 1, 2)), broken(numbered(3, merged, 1))}, map[byte]byte{3: 4}},
		"between marked ones the larger stays": {[]bucket.Listed{marked(numbered(1, merged)), marked(numbered(3, merged, 1, 2))}, map[byte]byte{1: 3}},
	} {
		got := map[byte]byte{}
		for id, by := range bucket.Covered(c.blocks) {
			got[id[15]] = by[15]
		}
		if c.want == nil {
			c.want = map[byte]byte{}
		}
		require.Equal(t, c.want, got, name)
	}
}
