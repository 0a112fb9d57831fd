// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// field is a field of a message with its length in so many bytes.
func field(number byte, data string, lengthBytes int) string {
	length := []byte{byte(len(data))}
	for ; lengthBytes > 1; lengthBytes-- {
		length[len(length)-1] |= 0x80
		length = append(length, 0)
	}
	return string([]byte{number<<3 | wireBytes}) + string(length) + data
}

// TestWireLabels: however the labels of a series are written, the bytes by which it is recognised are the same.
func TestWireLabels(t *testing.T) {
	chunk := field(fieldChunks, field(fieldData, "123", 1)+"\x18\x01", 1)
	name := func(s string) string { return field(fieldName, s, 1) }
	value := func(s string) string { return field(fieldValue, s, 1) }
	a, b := field(fieldLabels, name("a")+value("1"), 1), field(fieldLabels, name("b")+value(""), 1)
	want := labels.FromStrings("a", "1", "b", "")
	for message, plain := range map[string]bool{
		a + b + chunk: true,
		b + a + chunk: false,
		a + chunk + b: false,
		chunk + a + b: false,
		field(fieldLabels, value("1")+name("a"), 1) + b + chunk:                  false,
		field(fieldLabels, name("x")+name("a")+value("1"), 1) + b + chunk:        false,
		field(fieldLabels, name("a")+value("1")+field(3, "?", 1), 1) + b + chunk: false,
		field(fieldLabels, name("a")+value("1"), 2) + b + chunk:                  false,
		field(fieldLabels, field(fieldName, "a", 3)+value("1"), 1) + b + chunk:   false,
		field(fieldLabels, name("a")+field(fieldValue, "1", 2), 1) + b + chunk:   false,
		a + field(fieldLabels, name("b"), 1) + chunk:                             false,
		field(9, "?", 1) + a + b + chunk:                                         false,
	} {
		set := &bufferedSet{next: -1}
		d := frameDecoder{set: set}
		require.NoError(t, d.decode([]byte(field(fieldSeries, message, 1))), "%q", message)
		require.Len(t, set.series, 1)
		require.True(t, labels.Equal(want, set.series[0].Labels()), "%q has %s", message, set.series[0].Labels())
		require.Equal(t, appendLabels(nil, want), set.series[0].wire, "%q", message)
		require.Equal(t, plain, strings.HasPrefix(message, string(set.series[0].wire)), "%q", message)
	}
	damaged := field(fieldLabels, name("a")+"\x12\x05v", 1) + chunk
	require.ErrorIs(t, (&frameDecoder{set: &bufferedSet{}}).decode([]byte(field(fieldSeries, damaged, 1))), errFrame)
}

// TestUnsortedFrames: an answer in no order has the same series, and one that goes on in the next frame is one.
func TestUnsortedFrames(t *testing.T) {
	for seed := range uint64(10) {
		want := randomSet(rand.New(rand.NewPCG(seed, 2)))
		var out bytes.Buffer
		w := &frameWriter{}
		w.reset(&out)
		require.NoError(t, w.writeAll(want))
		got, err := readFrames(&out, false)
		require.NoError(t, err)
		for i := range got.series {
			got.series[i].lset = got.series[i].Labels()
		}
		requireSameSet(t, want, got)
	}
}

// TestCollector: whoever has a series, and in whatever order and form its labels come, it is found once with all its copies.
func TestCollector(t *testing.T) {
	rnd := seeded(t)
	copies := map[string]int{}
	holders := int64(0)
	holder := func(wire bool) storage.ChunkSeriesSet {
		set := &bufferedSet{next: -1}
		holders++ // All have other samples.
		samples := []chunks.Meta{{Chunk: chunkenc.NewXORChunk(), MinTime: holders, MaxTime: holders}}
		for _, i := range rnd.Perm(300) {
			l := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i), "long", strings.Repeat("x", i))
			switch {
			case rnd.IntN(3) == 0:
				continue
			case wire:
				set.addWire(appendLabels(nil, l), samples)
			default:
				set.series = append(set.series, bufferedSeries{lset: l, chunks: samples})
			}
			copies[l.String()]++
		}
		return set
	}
	u := newUnorderedSet([]storage.ChunkSeriesSet{holder(false), namedSet{holder(true), "a"}, holder(true), holder(true)}, &mergeEnv{})
	for u.Next() {
		s := u.At()
		require.Len(t, s.copies, copies[s.lset.String()], "%s", s.lset)
		delete(copies, s.lset.String())
		for _, c := range s.copies {
			require.True(t, labels.Equal(s.lset, c.Labels()))
		}
	}
	require.NoError(t, u.Err())
	require.Empty(t, copies)
}
