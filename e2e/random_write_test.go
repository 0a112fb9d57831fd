// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/e2e/lab"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// randomCopy is which of the data one directory of blocks, or one tenant, has.
type randomCopy struct {
	more [][]string // Labels that are added; each series is there once for each of them. Empty: as it is.
	lack int        // The member whose copy it is, with the holes that it has; -1: all of it.
}

func (c randomCopy) with() [][]string {
	if len(c.more) == 0 {
		return [][]string{nil}
	}
	return c.more
}

func extended(ls labels.Labels, more []string) labels.Labels {
	b := labels.NewBuilder(ls)
	for i := 0; i < len(more); i += 2 {
		b.Set(more[i], more[i+1])
	}
	return b.Labels()
}

// blocks writes a copy into two new directories, of the older blocks and of the younger.
func (d *randomData) blocks(t *testing.T, c randomCopy) (older, younger string) {
	t.Helper()
	older, younger = filepath.Join(harness.Dir(t), "older"), filepath.Join(harness.Dir(t), "younger")
	for _, dir := range []string{older, younger} {
		noError(t, os.MkdirAll(dir, 0o755))
	}
	for from := d.begin; from.Before(d.local); from = from.Add(randomMerged * randomBlock) {
		d.block(t, older, from, randomMerged*randomBlock, c)
	}
	for from := d.local; from.Before(d.cut); from = from.Add(randomBlock) {
		d.block(t, younger, from, randomBlock, c)
	}
	return older, younger
}

func (d *randomData) block(t *testing.T, dir string, from time.Time, length time.Duration, c randomCopy) {
	t.Helper()
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, length.Milliseconds())
	noError(t, err)
	app := w.Appender(t.Context())
	for _, s := range d.series {
		for _, more := range c.with() {
			ls := extended(s.labels, more)
			for _, v := range s.between(from, from.Add(length)) {
				switch {
				case c.lack >= 0 && lacking(s.labels, v.at) == c.lack:
					continue
				case v.integer != nil || v.hist != nil:
					_, err = app.AppendHistogram(0, ls, v.at, v.integer, v.hist)
				default:
					_, err = app.Append(0, ls, v.at, v.float)
				}
				noError(t, err)
			}
		}
	}
	noError(t, app.Commit())
	_, err = w.Flush(t.Context())
	noError(t, err)
	noError(t, w.Close())
}

// between are the samples of a time, its end excluded.
func (s *randomSeries) between(from, until time.Time) []randomSample {
	var out []randomSample
	for _, v := range s.samples {
		if v.at >= from.UnixMilli() && v.at < until.UnixMilli() {
			out = append(out, v)
		}
	}
	return out
}

// upload puts the blocks of a directory into a bucket as a member does.
func upload(t *testing.T, to *bucket.Blocks, dir, tenant, member string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	noError(t, err)
	for _, e := range entries {
		external := map[string]string{"tenant_id": tenant, "receive_replica": member}
		noError(t, to.PutBlock(t.Context(), filepath.Join(dir, e.Name()), external, bucket.SourceReceive))
	}
}

// link gives the blocks of directories to somebody.
func link(t *testing.T, to string, from ...string) {
	t.Helper()
	for _, dir := range from {
		noError(t, lab.LinkBlocks(dir, to))
	}
}

// push writes what is younger than all blocks, as it is or once for each list of labels: what is in order, or what is late.
func (d *randomData) push(t *testing.T, to harness.API, late bool, more ...[]string) {
	t.Helper()
	for from := d.cut; from.Before(d.end); from = from.Add(randomRequest) {
		for _, labels := range (randomCopy{more: more}).with() {
			if body := d.request(t, from, late, labels); body != nil {
				pushV2(t, to, body)
			}
		}
	}
}

// late tells whether a sample is written after younger ones.
func (d *randomData) late(ls labels.Labels, at int64) bool {
	return at >= d.end.Add(-randomLate).UnixMilli() && hashOf(ls, at/(4*time.Minute.Milliseconds()))%4 == 0
}

// request is nil if there is nothing of the time.
func (d *randomData) request(t *testing.T, from time.Time, late bool, more []string) []byte {
	t.Helper()
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for n, s := range d.series {
		ts := writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(extended(s.labels, more), nil)}
		ts.Metadata = writev2.Metadata{Type: writev2.Metadata_MetricType(n % 7), HelpRef: symbols.Symbolize(s.labels.Get("__name__"))}
		for i, v := range s.between(from, from.Add(randomRequest)) {
			switch {
			case d.late(s.labels, v.at) != late:
				continue
			case v.integer != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(0, v.at, v.integer))
			case v.hist != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(0, v.at, v.hist))
			default:
				ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: v.at, Value: v.float})
			}
			if s.exemplars && i%5 == 0 && !late {
				trace := labels.FromStrings("trace_id", fmt.Sprintf("%04x%08x", n, v.at))
				ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: symbols.SymbolizeLabels(trace, nil), Value: v.float / 8, Timestamp: v.at - 1})
			}
		}
		if len(ts.Samples)+len(ts.Histograms) > 0 {
			req.Timeseries = append(req.Timeseries, ts)
		}
	}
	if len(req.Timeseries) == 0 {
		return nil
	}
	req.Symbols = symbols.Symbols()
	raw, err := req.OptimizedMarshal(nil)
	noError(t, err)
	return snappy.Encode(nil, raw)
}
