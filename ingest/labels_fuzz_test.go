// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// wantLabels is the rule for labels in the plainest words: what is stored of the labels
// that were sent, or why nothing is.
func wantLabels(sent []prompb.Label, limits Limits) (labels.Labels, Reason) {
	if len(sent) > limits.LabelsPerSeries {
		return labels.EmptyLabels(), ReasonLabelCount
	}
	var kept []prompb.Label
	for _, l := range sent {
		if l.Value != "" || l.Name == "" {
			kept = append(kept, l)
		}
	}
	slices.SortStableFunc(kept, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) })
	named := false
	var out []labels.Label
	for i, l := range kept {
		switch {
		case len(l.Name) > limits.LabelNameBytes:
			return labels.EmptyLabels(), ReasonLabelNameLength
		case len(l.Value) > limits.LabelValueBytes:
			return labels.EmptyLabels(), ReasonLabelValueLength
		case l.Name == "":
			return labels.EmptyLabels(), ReasonLabelNameEmpty
		case !utf8.ValidString(l.Name) || !utf8.ValidString(l.Value):
			return labels.EmptyLabels(), ReasonLabelUTF8
		case i > 0 && kept[i-1].Name == l.Name:
			return labels.EmptyLabels(), ReasonLabelDuplicate
		}
		named = named || l.Name == model.MetricNameLabel
		out = append(out, labels.Label{Name: l.Name, Value: l.Value})
	}
	if !named {
		return labels.EmptyLabels(), ReasonMissingName
	}
	return labels.New(out...), ""
}

// wantKey is the series key of labels that are stored.
func wantKey(tenant string, ls labels.Labels) uint64 {
	text := tenant + "\xff"
	ls.Range(func(l labels.Label) { text += l.Name + "\xff" + l.Value + "\xff" })
	return xxhash.Sum64String(text)
}

// splitLabels makes labels of fuzzed text: "name value" of every line.
func splitLabels(text string) []prompb.Label {
	var out []prompb.Label
	for line := range strings.SplitSeq(text, "\n") {
		name, value, _ := strings.Cut(line, " ")
		out = append(out, prompb.Label{Name: name, Value: value})
	}
	return out
}

func FuzzLabels(f *testing.F) {
	f.Add("__name__ up\njob a")
	f.Add("b 2\n__name__ up\na 1\nempty ")
	f.Add("a 1\na 1\n__name__ x")
	f.Add(" \n__name__ x")
	f.Add("\xff 1\n__name__ x")
	f.Add("__name__ " + strings.Repeat("x", 20))
	f.Add("a 1\nb 2\nc 3\nd 4\ne 5\n__name__ x")
	f.Fuzz(func(t *testing.T, text string) {
		sent := splitLabels(text)
		limits := Limits{LabelsPerSeries: 5, LabelNameBytes: 10, LabelValueBytes: 16}.withDefaults()
		want, reason := wantLabels(sent, limits)
		check := func(got labels.Labels, key uint64, err error) {
			t.Helper()
			refused, err := asRefusal(err)
			require.NoError(t, err)
			if reason != "" {
				require.NotNil(t, refused)
				require.Equal(t, reason, refused.reason)
				require.True(t, utf8.ValidString(refused.detail) && !strings.ContainsAny(refused.detail, "\n\x00"), "%q", refused.detail)
				return
			}
			require.Nil(t, refused)
			require.True(t, labels.Equal(want, got), "%s\n%s", want, got)
			require.Equal(t, wantKey(testTenant, want), key)
		}
		var raw []byte
		for _, l := range sent {
			raw = appendLabel(raw, []byte(l.Name), []byte(l.Value))
		}
		d := newLabelDecoder()
		check(d.decode(testTenant, raw, &limits))
		check(d.decode(testTenant, raw, &limits)) // Its memory is used again.
	})
}

// FuzzSymbols gives one series any references into any table, beside a good series.
func FuzzSymbols(f *testing.F) {
	f.Add("\n__name__\nup\njob\na", []byte{1, 2, 3, 4}, byte(0), byte(0))
	f.Add("\n__name__\nup", []byte{1, 2, 1, 2}, byte(2), byte(9))
	f.Add("\n__name__\nup", []byte{1, 200}, byte(0), byte(0))
	f.Add("\n__name__\nup", []byte{1}, byte(0), byte(0))
	f.Add("x\n__name__\nup", []byte{1, 2}, byte(0), byte(0))
	f.Fuzz(func(t *testing.T, table string, refs []byte, help, unit byte) {
		req := &writev2.Request{Symbols: strings.Split(table, "\n")}
		good := uint32(len(req.Symbols))
		req.Symbols = append(req.Symbols, "__name__", "good")
		var series writev2.TimeSeries
		var sent []prompb.Label
		legal := len(refs)%2 == 0 && int(help) < len(req.Symbols) && int(unit) < len(req.Symbols)
		for i, ref := range refs {
			series.LabelsRefs = append(series.LabelsRefs, uint32(ref))
			legal = legal && int(ref) < len(req.Symbols)
			if legal && i%2 == 1 {
				sent = append(sent, prompb.Label{Name: req.Symbols[refs[i-1]], Value: req.Symbols[ref]})
			}
		}
		series.Samples = []writev2.Sample{{Timestamp: 1}}
		series.Metadata = writev2.Metadata{HelpRef: uint32(help), UnitRef: uint32(unit)}
		req.Timeseries = []writev2.TimeSeries{series, {LabelsRefs: []uint32{good, good + 1}, Samples: series.Samples}}
		body, err := req.Marshal()
		require.NoError(t, err)

		limits := Limits{LabelsPerSeries: 5, LabelNameBytes: 10, LabelValueBytes: 16}.withDefaults()
		pool := batchPool{limits: limits, cache: NewSeriesCache(CacheConfig{}, nil), strict: true}
		b := pool.get(testTenant)
		b.bodyBuf = body
		if err := b.parse(protoV2, anyTime()); err != nil {
			require.ErrorIs(t, err, errFirstSymbol)
			require.NotEmpty(t, req.Symbols[0])
			return
		}
		require.Len(t, b.series, 2)
		require.False(t, b.series[1].refused)
		want, reason := wantLabels(sent, limits)
		require.Equal(t, !legal || reason != "", b.series[0].refused)
		if !b.series[0].refused {
			require.Equal(t, want.String(), b.labelsOf(&b.series[0], &b.decoder).String())
			require.Empty(t, b.refused)
			return
		}
		require.Len(t, b.refused, 1)
		if !legal && len(refs)/2 <= limits.LabelsPerSeries {
			require.Equal(t, ReasonSymbols, b.refused[0].Reason)
		}
		require.LessOrEqual(t, len(answerOutcome(b, Outcome{}).text), answerBytesMax)
	})
}

// FuzzNegotiate: whatever the headers are, the answer is a version or a 415, and a
// version only for what is, in any spelling, the media type.
func FuzzNegotiate(f *testing.F) {
	for _, contentType := range []string{
		"", typeV1, typeV2, "application/x-protobuf ; proto=\"io.prometheus.write.v2.Request\"", "APPLICATION/X-PROTOBUF;PROTO=prometheus.WriteRequest",
		"application/x-protobuf;", "application/x-protobuf; proto", "text/plain", "application/x-protobuf;proto=a;proto=b", ";", "a/b;c=\"", "application/x-protobuf; proto*=utf-8''x",
	} {
		f.Add(contentType, "snappy")
		f.Add(contentType, "gzip")
	}
	f.Fuzz(func(t *testing.T, contentType, coding string) {
		h := http.Header{"Content-Type": {contentType}, "Content-Encoding": {coding}}
		p, err := negotiate(h)
		if err != nil {
			a := answerError(err)
			require.Equal(t, http.StatusUnsupportedMediaType, a.status)
			require.LessOrEqual(t, len(a.text), answerBytesMax)
			require.True(t, utf8.ValidString(a.text) && !strings.ContainsAny(a.text, "\n\r\x00"), "%q", a.text)
			return
		}
		spelled := strings.ToLower(contentType)
		compact := strings.Join(strings.Fields(contentType), "")
		switch p {
		case protoV1:
			require.True(t, contentType == "" || strings.Contains(spelled, mediaType))
			if !strings.Contains(contentType, `"`) { // Which can hide anything.
				require.NotContains(t, compact, ";proto="+messageV2, "2.0 read as 1.0")
			}
		case protoV2:
			require.Contains(t, spelled, mediaType)
		default:
			t.Fatalf("%q gives no version and no error", contentType)
		}
		coding = strings.TrimSpace(coding)
		require.True(t, coding == "" || strings.EqualFold(coding, snappyCoding))
	})
}
