// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// encAggregate is the encoding of the chunks of downsampled blocks, which is Thanos'.
const encAggregate chunkenc.Encoding = 0xff

// errOpaque says that somebody wanted to look into a chunk that is only passed on.
var errOpaque = errors.New("a chunk of aggregates can be copied and not read")

// pool is TSDB's pool of chunks, and in addition lets chunks of aggregates through as they are. Safe for concurrent use.
type pool struct{ chunkenc.Pool }

func newPool() chunkenc.Pool { return pool{chunkenc.NewPool()} }

// Get implements chunkenc.Pool.
func (p pool) Get(e chunkenc.Encoding, b []byte) (chunkenc.Chunk, error) {
	if e == encAggregate {
		return aggregate(b), nil
	}
	return p.Pool.Get(e, b)
}

// Put implements chunkenc.Pool.
func (p pool) Put(c chunkenc.Chunk) error {
	if c.Encoding() == encAggregate {
		return nil
	}
	return p.Pool.Put(c)
}

// aggregate is a chunk of aggregates as bytes.
type aggregate []byte

func (a aggregate) Bytes() []byte                      { return a }
func (aggregate) Encoding() chunkenc.Encoding          { return encAggregate }
func (aggregate) Compact()                             {}
func (aggregate) Reset([]byte)                         {}
func (aggregate) Appender() (chunkenc.Appender, error) { return nil, errOpaque }

func (aggregate) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return opaqueIterator{chunkenc.NewNopIterator()}
}

type opaqueIterator struct{ chunkenc.Iterator }

func (opaqueIterator) Err() error { return errOpaque }

// NumSamples is that of the first sub-chunk, the counts: a length, an encoding, and a chunk, which begins with the number.
func (a aggregate) NumSamples() int {
	size, n := binary.Uvarint(a)
	if n <= 0 || size < 2 || len(a) < n+1+2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(a[n+1:]))
}

// concatenate is the storage.VerticalChunkSeriesMergeFunc for blocks that do not overlap: the chunks in order of time.
func concatenate(series ...storage.ChunkSeries) storage.ChunkSeries {
	return &storage.ChunkSeriesEntry{
		Lset: series[0].Labels(),
		ChunkIteratorFn: func(chunks.Iterator) chunks.Iterator {
			var all []chunks.Meta
			for _, s := range series {
				it := s.Iterator(nil)
				for it.Next() {
					all = append(all, it.At())
				}
				if err := it.Err(); err != nil {
					return failedChunks{err}
				}
			}
			slices.SortFunc(all, func(a, b chunks.Meta) int { return cmp.Compare(a.MinTime, b.MinTime) })
			for i := range all[1:] {
				if all[i+1].MinTime <= all[i].MaxTime {
					return failedChunks{fmt.Errorf("chunks of aggregates of %s overlap at %d", series[0].Labels(), all[i+1].MinTime)}
				}
			}
			return storage.NewListChunkSeriesIterator(all...)
		},
	}
}

// failedChunks is a chunks.Iterator that has nothing but an error.
type failedChunks struct{ err error }

func (failedChunks) Next() bool      { return false }
func (failedChunks) At() chunks.Meta { return chunks.Meta{} }
func (f failedChunks) Err() error    { return f.err }
