// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// keySeparator ends each part of what is hashed. No valid UTF-8 text contains it, so
// that different labels are different inputs.
const keySeparator = 0xff

// belowSlot returns the bits of a series key below those of its slot.
func belowSlot(key uint64) uint8 { return uint8(key >> 44) }

// seriesKey hashes the tenant and all labels of a series, which must be sorted by
// name, unique and without empty values. It decides which members own the series, so
// every member has to compute the same: changing it needs a new ring.HashVersion. It
// returns buf, grown, for reuse.
func seriesKey(buf []byte, tenant string, sorted []labelPair) (uint64, []byte) {
	buf = append(buf, tenant...)
	buf = append(buf, keySeparator)
	for _, p := range sorted {
		buf = append(buf, p.name...)
		buf = append(buf, keySeparator)
		buf = append(buf, p.value...)
		buf = append(buf, keySeparator)
	}
	return xxhash.Sum64(buf), buf
}

// SeriesKey returns the key of a series of a tenant, by which its owners are found, for
// those that have labels and not a request. It returns buf, grown, for reuse.
func SeriesKey(buf []byte, tenant string, lset labels.Labels) (uint64, []byte) {
	buf = append(buf[:0], tenant...)
	buf = append(buf, keySeparator)
	lset.Range(func(l labels.Label) {
		buf = append(buf, l.Name...)
		buf = append(buf, keySeparator)
		buf = append(buf, l.Value...)
		buf = append(buf, keySeparator)
	})
	return xxhash.Sum64(buf), buf
}
