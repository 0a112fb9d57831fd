// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/penstock-io/penstock/e2e/harness"
)

// ask makes the call. A remote read is given back as lines.
func (c randomCall) ask(t *testing.T, api harness.API) answer {
	t.Helper()
	switch c.path {
	case "/read":
		return c.read(t, api)
	case "/query", "/query_range", "/series", "/labels":
		if c.post {
			return ask(t, api, http.MethodPost, c.path, http.Header{"Content-Type": {formType}}, c.params.Encode())
		}
	}
	return ask(t, api, http.MethodGet, c.path+"?"+c.params.Encode(), nil, "")
}

func (c randomCall) read(t *testing.T, api harness.API) answer {
	t.Helper()
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(c.params.Get("match[]"))
	if err != nil {
		t.Fatal(err)
	}
	query, err := remote.ToQuery(mustMoment(c.params.Get("start")).UnixMilli(), mustMoment(c.params.Get("end")).UnixMilli(), matchers, nil)
	if err != nil {
		t.Fatal(err)
	}
	req := prompb.ReadRequest{Queries: []*prompb.Query{query}}
	if c.post {
		req.AcceptedResponseTypes = []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS}
	}
	raw, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}}
	got := ask(t, api, http.MethodPost, c.path, header, string(snappy.Encode(nil, raw)))
	if got.code == http.StatusOK {
		got.body = []byte(strings.Join(samplesOf(t, got), "\n"))
	}
	return got
}
