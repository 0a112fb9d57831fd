// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

func TestSpecLabelsStored(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(want string, pairs ...string) {
		t.Helper()
		specSeries{t, now}.stored(seriesV1(now, 7, pairs...), want, float(now, 7))
	}
	f(`{__name__="m", a="1", b="2"}`, "__name__", "m", "a", "1", "b", "2")
	// Labels that are not sorted are sorted.
	f(`{__name__="m", a="1", b="2"}`, "b", "2", "a", "1", "__name__", "m")
	f(`{A="0", __name__="m", a="1"}`, "a", "1", "__name__", "m", "A", "0")
	// A label without a value is no label.
	f(`{__name__="m", b="2"}`, "__name__", "m", "a", "", "b", "2")
	f(`{__name__="m", a="1"}`, "__name__", "m", "a", "", "a", "1")
	f(`{__name__="m"}`, "__name__", "m", strings.Repeat("n", DefaultLabelNameBytes+1), "")
	// Names are UTF-8, and values anything of it.
	f(`{__name__="温度", "où"="là"}`, "__name__", "温度", "où", "là")
	f(`{"1 2"="3", __name__="a.b/c d"}`, "__name__", "a.b/c d", "1 2", "3")
	f(`{__name__="m", a="\x00\n\"\\"}`, "__name__", "m", "a", "\x00\n\"\\")
	// At the limits.
	most := []string{"__name__", "m"}
	want := []string{`__name__="m"`}
	for i := range DefaultLabelsPerSeries - 1 {
		most = append(most, fmt.Sprintf("l%02d", i), "v")
		want = append(want, fmt.Sprintf(`l%02d="v"`, i))
	}
	f("{"+strings.Join(want, ", ")+"}", most...)
	longest, long := strings.Repeat("n", DefaultLabelNameBytes), strings.Repeat("v", DefaultLabelValueBytes)
	f(`{__name__="m", `+longest+`="`+long+`"}`, "__name__", "m", longest, long)
}

func TestSpecLabelsRefused(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(reason Reason, example string, pairs ...string) {
		t.Helper()
		specSeries{t, now}.refused(seriesV1(now, 7, pairs...), Counts{Samples: 1}, reason, example)
	}
	f(ReasonLabelDuplicate, `m{a="1", a="2"}: duplicate label "a"`, "__name__", "m", "a", "1", "a", "2")
	f(ReasonLabelDuplicate, `m{a="1", a="1"}: duplicate label "a"`, "__name__", "m", "a", "1", "a", "1")
	f(ReasonLabelDuplicate, `n{}: duplicate label "__name__"`, "__name__", "m", "__name__", "n")
	f(ReasonMissingName, `{a="1"}: no metric name`, "a", "1")
	f(ReasonMissingName, `{a="1"}: no metric name`, "__name__", "", "a", "1")
	f(ReasonMissingName, `series 1: no metric name`)
	f(ReasonLabelNameEmpty, `m{="1"}: empty label name`, "__name__", "m", "", "1")
	f(ReasonLabelNameEmpty, `m{=""}: empty label name`, "__name__", "m", "", "")
	f(ReasonLabelUTF8, `m{a="\xff"}: label "a" is not valid UTF-8`, "__name__", "m", "a", "\xff")
	f(ReasonLabelUTF8, `m{\xc3="1"}: label "\xc3" is not valid UTF-8`, "__name__", "m", "\xc3", "1")
	f(ReasonLabelUTF8, `m\xed\xa0\x80{}: label "__name__" is not valid UTF-8`, "__name__", "m\xed\xa0\x80") // half of a surrogate pair

	many := []string{"__name__", "m"}
	for i := range DefaultLabelsPerSeries {
		many = append(many, fmt.Sprintf("l%02d", i), "v")
	}
	shown := strings.TrimSuffix(strings.Repeat(`lXX="v", `, 22), ", ")
	for i := range 22 {
		shown = strings.Replace(shown, "XX", fmt.Sprintf("%02d", i), 1)
	}
	f(ReasonLabelCount, `m{`+shown+`, ...}: series has 65 labels, limit 64 (max_label_names_per_series in --limits.config-file)`, many...)
	// Those without a value are counted too: they cost as much to read.
	many[len(many)-1] = ""
	f(ReasonLabelCount, `m{`+shown+`, ...}: series has 65 labels, limit 64 (max_label_names_per_series in --limits.config-file)`, many...)
	cut := func(s string) string { return strings.Repeat(s, quoteBytesMax) + "..." }
	f(ReasonLabelNameLength, `m{`+cut("n")+`="1"}: label name "`+cut("n")+`" has 1025 bytes, limit 1024 (max_label_name_length in --limits.config-file)`,
		"__name__", "m", strings.Repeat("n", DefaultLabelNameBytes+1), "1")
	f(ReasonLabelValueLength, `m{a="`+cut("v")+`"}: value of label "a" has 4097 bytes, limit 4096 (max_label_value_length in --limits.config-file)`,
		"__name__", "m", "a", strings.Repeat("v", DefaultLabelValueBytes+1))
	f(ReasonLabelValueLength, cut("v")+`{}: value of label "__name__" has 10485760 bytes, limit 4096 (max_label_value_length in --limits.config-file)`,
		"__name__", strings.Repeat("v", 10<<20))
}

// TestSpecRefusalsAreBoundedAndEscaped plants what would forge a line of a log, in
// every series of a large request.
func TestSpecRefusalsAreBoundedAndEscaped(t *testing.T) {
	t.Parallel()
	var bad []prompb.TimeSeries
	for range 1000 {
		bad = append(bad, seriesV1(nowMillis(), 1, "__name__", "x\nlevel=error\x00", "a\nb", strings.Repeat("é\n", 500), "a\nb", "2"))
	}
	w := post(t, oneNode(t, openStore(t)), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: bad}))
	example := `x\nlevel=error\x00{a\nb="` + strings.Repeat(`é\n`, 21) + `\xc3...", a\nb="2"}: duplicate label "a\nb"` + "\n"
	requireSpec(t, specAnswer{400, "1000 of 1000 series refused in whole or part (1000 samples, 0 histograms, 0 exemplars); the rest is stored. " +
		"duplicate_label: 1000. Examples:\n" + example + example + example, ""}, w)
	// An answer that would be longer is cut.
	for i := range bad {
		bad[i].Labels = labelsV1("__name__", strings.Repeat("\x00", 64), strings.Repeat("\x01", 64), "1", strings.Repeat("\x01", 64), "2")
	}
	w = post(t, oneNode(t, openStore(t)), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: bad}))
	require.Equal(t, 400, w.Code)
	require.Equal(t, 1024, w.Body.Len())
	require.True(t, strings.HasSuffix(w.Body.String(), "\n"))
}

// TestSpecOneOfTwoThousand: a bad series costs its neighbours nothing.
func TestSpecOneOfTwoThousand(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	var series []prompb.TimeSeries
	for i := range 2000 {
		series = append(series, seriesV1(now, float64(i), "__name__", fmt.Sprintf("m%04d", i)))
	}
	series[777].Labels = labelsV1("a", "1")
	want := specAnswer{400, refusedBody(2000, Counts{Samples: 1}, ReasonMissingName, `{a="1"}: no metric name`), ""}
	store := openStore(t)
	requireSpec(t, want, post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
	require.Len(t, store.dump(t), 1999)
	want.written = "1999 0 0"
	store = openStore(t)
	requireSpec(t, want, post(t, oneNode(t, store), typeV2, encodeV2(t, toV2(series))))
	require.Len(t, store.dump(t), 1999)
}

// TestSpecSymbols is what only 2.0 can get wrong.
func TestSpecSymbols(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(items Counts, written string, reason Reason, example string, change func(*writev2.Request, *writev2.TimeSeries)) {
		t.Helper()
		store := openStore(t)
		req := toV2([]prompb.TimeSeries{
			seriesV1(now, 1, "__name__", "first"),
			{
				Labels: labelsV1("__name__", "bad"), Samples: []prompb.Sample{{Timestamp: now, Value: 1}},
				Exemplars: []prompb.Exemplar{traceAt("x", now, 1)},
			},
			seriesV1(now, 2, "__name__", "last"),
		})
		change(req, &req.Timeseries[1])
		w := post(t, oneNode(t, store), typeV2, encodeV2(t, req))
		requireSpec(t, specAnswer{http.StatusBadRequest, refusedBody(3, items, reason, example), written}, w)
		require.Equal(t, written[0] == '3', len(store.dump(t)) == 3)
	}
	all, exemplar := Counts{Samples: 1, Exemplars: 1}, Counts{Exemplars: 1}
	// The table is "", __name__, first, bad, trace, x, last.
	f(all, "2 0 0", ReasonSymbols, "series 1: symbol reference 99 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.LabelsRefs[1] = 99
	})
	f(all, "2 0 0", ReasonSymbols, "series 1: symbol reference 7 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.LabelsRefs[0] = 7
	})
	f(all, "2 0 0", ReasonSymbols, "series 1: symbol reference 4294967295 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.LabelsRefs[1] = math.MaxUint32
	})
	f(all, "2 0 0", ReasonSymbols, "series 1: odd number of label references (3)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.LabelsRefs = append(s.LabelsRefs, 1)
	})
	f(all, "2 0 0", ReasonMissingName, "series 1: no metric name", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.LabelsRefs = nil
	})
	f(all, "2 0 0", ReasonSymbols, "bad{}: symbol reference 77 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.Metadata.HelpRef = 77
	})
	f(all, "2 0 0", ReasonSymbols, "bad{}: symbol reference 78 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.Metadata.UnitRef = 78
	})
	// Of an exemplar, only the exemplar.
	f(exemplar, "3 0 0", ReasonSymbols, "bad{}: symbol reference 66 out of range (7 symbols)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.Exemplars[0].LabelsRefs[0] = 66
	})
	f(exemplar, "3 0 0", ReasonSymbols, "bad{}: odd number of label references (1)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.Exemplars[0].LabelsRefs = s.Exemplars[0].LabelsRefs[:1]
	})
	f(exemplar, "2 0 0", ReasonSymbols, "bad{}: odd number of label references (1)", func(_ *writev2.Request, s *writev2.TimeSeries) {
		s.Samples, s.Exemplars[0].LabelsRefs = nil, s.Exemplars[0].LabelsRefs[:1]
	})
	// No table at all.
	store := openStore(t)
	w := post(t, oneNode(t, store), typeV2, encodeV2(t, &writev2.Request{
		Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{0, 1}, Samples: []writev2.Sample{{Timestamp: now}}}},
	}))
	requireSpec(t, specAnswer{400, refusedBody(1, Counts{Samples: 1}, ReasonSymbols, "series 0: symbol reference 0 out of range (0 symbols)"), noneWritten}, w)
}

// TestSpecSymbolTables are tables that are not as they should be, and do no harm.
func TestSpecSymbolTables(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	store := openStore(t)
	h := oneNode(t, store)
	req := &writev2.Request{
		Symbols: []string{"", "__name__", "m", "m", "\xff unused", "__name__"},
		Timeseries: []writev2.TimeSeries{
			{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: now, Value: 1}}},
			{LabelsRefs: []uint32{5, 3}, Samples: []writev2.Sample{{Timestamp: now + 1, Value: 2}}},
		},
	}
	requireSpec(t, specAnswer{204, "", "2 0 0"}, post(t, h, typeV2, encodeV2(t, req)))
	require.Equal(t, map[string][]storedSample{`{__name__="m"}`: {float(now, 1), float(now+1, 2)}}, store.dump(t))
}
