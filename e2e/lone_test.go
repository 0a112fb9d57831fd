// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/penstock-io/penstock/e2e/harness"
)

// TestLoneNode: a node without any flag but where to listen is useful by itself, and no body of a request ends it.
func TestLoneNode(t *testing.T) {
	dir := harness.Dir(t)
	node := env.StartLoneNode(t, filepath.Join(dir, "data"))
	now := time.Now()
	body := writeBody(t, "e2e_lone", now, 42)

	for _, path := range []string{"/api/v1/write", "/api/v1/push", "/api/v1/receive"} {
		if resp, err := node.Post(path, harness.WriteHeader(), body); err != nil || resp.Code != http.StatusNoContent {
			t.Fatalf("POST %s: status %d, %q, %v", path, resp.Code, resp.Body, err)
		}
	}
	for name, c := range map[string]struct {
		body   []byte
		header http.Header
		want   int
	}{
		"no snappy":                    {[]byte("this is no snappy block"), harness.WriteHeader(), http.StatusBadRequest},
		"no protobuf":                  {snappy.Encode(nil, []byte("this is no protobuf")), harness.WriteHeader(), http.StatusBadRequest},
		"cut short":                    {body[:len(body)-1], harness.WriteHeader(), http.StatusBadRequest},
		"a length of 4 GiB":            {[]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, harness.WriteHeader(), http.StatusRequestEntityTooLarge},
		"another type of content":      {body, http.Header{"Content-Type": {"text/plain"}}, http.StatusUnsupportedMediaType},
		"another encoding":             {body, header("application/x-protobuf", "gzip"), http.StatusUnsupportedMediaType},
		"a protocol that nobody knows": {body, header("application/x-protobuf;proto=io.prometheus.write.v9.Request", "snappy"), http.StatusUnsupportedMediaType},
	} {
		resp, err := node.Post("/api/v1/write", c.header, c.body)
		if err != nil || resp.Code != c.want || resp.Body == "" {
			t.Errorf("%s: status %d, %q, %v; want %d and a reason", name, resp.Code, resp.Body, err, c.want)
		}
	}
	resp, err := node.Query("e2e_lone", now, harness.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := resp.Scalar(); err != nil || got != 42 {
		t.Fatalf("the sample that was written reads %g, %v", got, err)
	}
	if code := node.Process.Terminate(); code != 0 {
		t.Fatalf("exit code %d after SIGTERM, want 0", code)
	}

	// What was acknowledged is there after a restart.
	node.Start()
	node.WaitReady()
	if resp, err = node.Query("e2e_lone", now, harness.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, err := resp.Scalar(); err != nil || got != 42 {
		t.Fatalf("after a restart the sample reads %g, %v", got, err)
	}
}

// TestFewerThanQuorum: a node that waits for the others runs and is ready, and says in every 503 what it waits for.
func TestFewerThanQuorum(t *testing.T) {
	node := env.NewCluster(t, harness.ClusterConfig{Nodes: 3}).Nodes[0]
	node.Start()
	node.WaitReady()
	s := &story{t: t}
	s.refusesToStore(node)
	s.refusesToAnswer(node)
}

// writeBody is the body of a remote write 1.0 request with one sample.
func writeBody(t *testing.T, metric string, at time.Time, value float64) []byte {
	t.Helper()
	req := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: metric}},
		Samples: []prompb.Sample{{Timestamp: at.UnixMilli(), Value: value}},
	}}}
	raw, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func header(contentType, encoding string) http.Header {
	return http.Header{"Content-Type": {contentType}, "Content-Encoding": {encoding}}
}
