// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"fmt"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// histogramAt and floatHistogramAt read the histogram that an iterator stands on. Of a resolution finer than it knows, Prometheus'
// iterators make a coarser histogram, and panic when the buckets of a damaged chunk do not fit their spans. That must end
// neither a query for other series nor a process that compacts.

func histogramAt(it chunkenc.Iterator) (t int64, h *histogram.Histogram, err error) {
	defer damagedIfPanics(&err)
	t, h = it.AtHistogram(nil)
	return t, h, nil
}

// floatHistogramAt decodes into fh, if that is not nil.
func floatHistogramAt(it chunkenc.Iterator, fh *histogram.FloatHistogram) (t int64, _ *histogram.FloatHistogram, err error) {
	defer damagedIfPanics(&err)
	t, fh = it.AtFloatHistogram(fh)
	return t, fh, nil
}

func damagedIfPanics(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrDamaged, r)
	}
}
