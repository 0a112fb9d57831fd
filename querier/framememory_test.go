// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// framesOf writes n series of some size as frames.
func framesOf(t *testing.T, n int) ([]byte, *bufferedSet) {
	t.Helper()
	set := &bufferedSet{next: -1, sorted: true}
	for i := range n {
		s := copyOf(t, floats(0, 99, 1, func(at int64) float64 { return float64(at*int64(i)) + 0.1 }), func(i int) bool { return i == 0 }).(*bufferedSeries)
		set.series = append(set.series, bufferedSeries{lset: labels.FromStrings("__name__", "m", "i", fmt.Sprintf("%06d", i)), chunks: s.chunks})
	}
	var out bytes.Buffer
	w := &frameWriter{}
	w.reset(&out)
	require.NoError(t, w.writeAll(set))
	return out.Bytes(), set
}

// TestFrameReader: however a stream comes in, its frames are whole; where it is cut or changed is an error.
func TestFrameReader(t *testing.T) {
	for _, n := range []int{0, 1, 10, 3000} {
		stream, want := framesOf(t, n)
		for name, in := range map[string]io.Reader{
			"at once":       bytes.NewReader(stream),
			"in halves":     iotest.HalfReader(bytes.NewReader(stream)),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(stream)),
			"end with data": iotest.DataErrReader(bytes.NewReader(stream)),
		} {
			got, err := readFrames(in, true)
			require.NoError(t, err, name)
			requireSameSet(t, want, got)
			require.NoError(t, got.release())
		}
	}
	stream, _ := framesOf(t, 3000)
	first, head := len(stream)/2, 3
	for cut := range 20 {
		_, err := readFrames(bytes.NewReader(stream[:first+cut]), true)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		_, err = readFrames(bytes.NewReader(stream[:1+cut%head]), true)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	boom := errors.New("boom")
	_, err := readFrames(io.MultiReader(bytes.NewReader(stream[:first]), iotest.ErrReader(boom)), true)
	require.ErrorIs(t, err, boom)
	_, err = readFrames(iotest.ErrReader(boom), true)
	require.ErrorIs(t, err, boom)
	changed := bytes.Clone(stream)
	changed[first] ^= 1
	_, err = readFrames(bytes.NewReader(changed), true)
	require.ErrorContains(t, err, "checksum")
	_, err = readFrames(strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\xff"), true)
	require.ErrorContains(t, err, "exceeded the limit")
}

// TestAnswersOutliveTheirMemory: what a querier gave may be kept after it is closed as far as it is labels and samples, though other
// answers are then in the memory of the frames.
func TestAnswersOutliveTheirMemory(t *testing.T) {
	c := newCluster(t, 2, 2)
	for i := range 4000 { // More than the first rooms hold, which are not used again.
		l := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i), "long", strings.Repeat("x", 100))
		c.stores[1].write(t, l, floats(0, 20_000, 1000, func(n int64) float64 { return float64(n) + float64(i) })...)
	}
	q, err := c.Querier.Querier(0, math.MaxInt64)
	require.NoError(t, err)
	set := q.Select(tenantCtx(), false, nil, all())
	kept := map[string]labels.Labels{}
	var memory *frameMemory
	for set.Next() {
		s := set.At().(*sampleSeries)
		kept[s.Labels().String()] = s.Labels()
		if memory == nil {
			for _, held := range set.(*sampleSet).set.(*unorderedSet).sets {
				if b, ok := held.(*bufferedSet); ok {
					memory = &b.memory
				}
			}
		}
	}
	require.NoError(t, set.Err())
	blocks := memory.blocks
	require.NotEmpty(t, blocks)
	require.NoError(t, q.Close())
	require.Empty(t, memory.blocks, "given back")
	for _, b := range blocks {
		for i := range b {
			b[i] = 0xff
		}
	}
	require.Len(t, kept, 4000)
	for text, lset := range kept {
		require.Equal(t, text, lset.String())
	}
}
