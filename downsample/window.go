// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

// The resolutions that there are, in ms. They are Thanos'.
const (
	Raw         = int64(0)
	FiveMinutes = int64(5 * 60 * 1000)
	OneHour     = int64(60 * 60 * 1000)
)

const (
	// assumedInterval is how far apart raw samples are taken to be where chunk sizes are planned.
	assumedInterval = int64(60 * 1000)
	// samplesPerChunk is how many windows a chunk should have, a little more than Prometheus' 120 samples.
	samplesPerChunk = 140
)

// windowEnd returns the last millisecond of the window in which t is. Windows begin at multiples of the resolution, of
// negative ones too. A block's time ends with a window, and its last sample must be in it, hence not the next one's first
// millisecond.
func windowEnd(t, resolution int64) int64 {
	in := t % resolution
	if in < 0 {
		in += resolution
	}
	return t - in + resolution - 1
}

// chunkTarget returns into how many chunks n samples in [mint, maxt], which are inRes ms apart, should go when they are
// downsampled to outRes. It is Thanos' number, so that chunks end at the same windows: as many windows as fit into the time, by
// the share of it that is filled.
func chunkTarget(mint, maxt, inRes, outRes int64, n int) int {
	filled := min(1, float64(n)/(float64(maxt-mint)/float64(inRes)))
	windows := int(float64((maxt-mint)/outRes)*filled) + 1
	return windows/(samplesPerChunk+1) + 1
}
