// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// golden is a Prometheus server and Penstock nodes that were given the same samples.
type golden struct {
	t          *testing.T
	prometheus harness.API
	sides      []harness.API // what is compared with it
	begin, end time.Time
	used       map[difference]bool
	victim     *harness.Node // a member that is not asked itself
}

// TestGolden asks a Prometheus server, a lone node, a cluster, and a cluster that was given the data of an HA pair, the
// same questions, and wants the same answers.
func TestGolden(t *testing.T) {
	g := startGolden(t)
	t.Run("form", g.formCalls)
	t.Run("raw", g.rawCalls)
	t.Run("bodies", g.bodies)
	t.Run("gzip", g.compressed)
	t.Run("cors", g.origins)
	t.Run("federate", g.federate)
	t.Run("read", g.remoteRead)
	t.Run("read as stored", g.storedSeries)
	t.Run("metadata", g.metadata)
	t.Run("runtimeinfo", g.runtimeInfo)
	t.Run("grafana", g.grafana)
	g.victim.Process.Kill()
	t.Run("one member dead", func(t *testing.T) {
		g.sides = g.sides[1:] // Those of the cluster.
		g.formCalls(t)
		g.remoteRead(t)
	})
	for _, d := range goldenDifferences {
		if !g.used[d] {
			t.Errorf("%s %s does not differ any more: take it off the list", d.path, d.field)
		}
	}
}

// goldenFlags are what a Prometheus has by default and Penstock has not.
var goldenFlags = []string{"--web.cors.origin=.*"}

func startGolden(t *testing.T) *golden {
	t.Helper()
	end := time.Now().Truncate(time.Second)
	g := &golden{t: t, begin: end.Add(-(goldenScrapes - 1) * goldenInterval), end: end, used: map[difference]bool{}}
	g.prometheus = env.StartReceiver(t, "", "--web.enable-otlp-receiver")
	goldenPush(t, g.prometheus, g.begin)

	lone := env.StartLoneNode(t, harness.Dir(t), goldenFlags...).API
	lone.Name = "lone node"
	goldenPush(t, lone, g.begin)

	nodes := env.NewCluster(t, harness.ClusterConfig{Nodes: 3, Flags: goldenFlags})
	nodes.Start()
	cluster := nodes.Nodes[0].API
	cluster.Name = "cluster"
	goldenPush(t, cluster, g.begin)

	pair := nodes.Nodes[1].API
	pair.Name, pair.Tenant = "HA pair", "pair"
	for _, replica := range []string{"a", "b"} {
		goldenPush(t, pair, g.begin, harness.ReplicaLabel, replica)
	}
	g.sides, g.victim = []harness.API{lone, cluster, pair}, nodes.Nodes[2]
	return g
}

// at puts the times of the data into a question.
func (g *golden) at(text string) string {
	seconds := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	middle := g.begin.Add(goldenScrapes / 2 * goldenInterval)
	return strings.NewReplacer("{s}", seconds(g.begin), "{m}", seconds(middle), "{e}", seconds(g.end), "{em}", g.end.Format(time.RFC3339)).Replace(text)
}

// form reads a question whose values are not escaped.
func (g *golden) form(text string) url.Values {
	form := url.Values{}
	for field := range strings.SplitSeq(g.at(text), "&") {
		if name, value, ok := strings.Cut(field, "="); ok {
			form.Add(name, value)
		}
	}
	return form
}

// formCalls makes every call of the list.
func (g *golden) formCalls(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(goldenCalls)) {
		for _, text := range goldenCalls[path] {
			query := g.form(text).Encode()
			g.same(t, path, text, func(api harness.API) answer {
				return ask(t, api, http.MethodGet, path+"?"+query, nil, "")
			})
			g.same(t, path, "POST "+text, func(api harness.API) answer {
				return ask(t, api, http.MethodPost, path, http.Header{"Content-Type": {formType}}, query)
			})
		}
	}
}

const formType = "application/x-www-form-urlencoded"

func (g *golden) rawCalls(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(goldenRaw)) {
		for _, text := range goldenRaw[path] {
			query := g.at(text)
			g.same(t, path, text, func(api harness.API) answer {
				return ask(t, api, http.MethodGet, path+"?"+query, nil, "")
			})
			g.same(t, path, "POST "+text, func(api harness.API) answer {
				return ask(t, api, http.MethodPost, path, http.Header{"Content-Type": {formType}}, query)
			})
		}
	}
}

// bodies are questions that are large, and ones that are no form.
func (g *golden) bodies(t *testing.T) {
	long := "up" + strings.Repeat(" or up", 500) + strings.Repeat(" ", 200<<10)
	tooLong := "up" + strings.Repeat(" ", 11<<20)
	for _, path := range []string{"/query", "/series", "/labels", "/query_range"} {
		for name, query := range map[string]string{"long": long, "too long": tooLong} {
			form := g.form("start={s}&end={e}&step=60&time={e}")
			form.Set("query", query)
			form.Set("match[]", "up")
			body := form.Encode()
			g.same(t, path, name, func(api harness.API) answer {
				return ask(t, api, http.MethodPost, path, http.Header{"Content-Type": {formType}}, body)
			})
		}
		for _, contentType := range []string{"", "application/json", "multipart/form-data", "multipart/form-data; boundary=x"} {
			g.same(t, path, "content type "+contentType, func(api harness.API) answer {
				return ask(t, api, http.MethodPost, path, http.Header{"Content-Type": {contentType}}, `{"query":"up"}`)
			})
		}
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
			g.same(t, path, method, func(api harness.API) answer { return ask(t, api, method, path, nil, "") })
		}
	}
}

// compressed wants gzip where a client takes it.
func (g *golden) compressed(t *testing.T) {
	query := g.form("query=up&match[]=up&time={e}&start={s}&end={e}&step=60&metric=nothing_there").Encode()
	for _, path := range []string{"/query", "/query_range", "/series", "/labels", "/label/job/values", "/metadata", "/query_exemplars", "/rules"} {
		for _, encoding := range []string{"gzip", "deflate", "br", "gzip;q=0", "identity"} {
			g.same(t, path, "accept "+encoding, func(api harness.API) answer {
				return ask(t, api, http.MethodGet, path+"?"+query, http.Header{"Accept-Encoding": {encoding}}, "")
			})
		}
	}
}

// origins wants the same answers for scripts of other sites.
func (g *golden) origins(t *testing.T) {
	for _, path := range []string{"/query", "/labels", "/metadata", "/status/flags"} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			g.same(t, path, method+" from elsewhere", func(api harness.API) answer {
				return ask(t, api, method, path+"?query=1&time=1&metric=nothing_there", http.Header{"Origin": {"https://elsewhere.example"}}, "")
			})
		}
	}
}

// runtimeInfo has the same fields, of the same types.
func (g *golden) runtimeInfo(t *testing.T) {
	fields := func(api harness.API) map[string]string {
		body, err := decodeJSON(ask(t, api, http.MethodGet, "/status/runtimeinfo", nil, "").body)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for name, value := range body.(map[string]any)["data"].(map[string]any) {
			out[name] = fmt.Sprintf("%T", value)
		}
		return out
	}
	want := fields(g.prometheus)
	for _, side := range g.sides {
		if got := fields(side); !maps.Equal(got, want) || len(want) < 10 {
			t.Errorf("%s has the fields %v, Prometheus %v", side.Name, got, want)
		}
	}
}

// same makes one call on both sides and compares the answers.
func (g *golden) same(t *testing.T, path, what string, call func(harness.API) answer) {
	t.Helper()
	want := call(g.prometheus)
	for _, side := range g.sides {
		for _, diff := range compareAnswers(what, want, call(side)) {
			if !g.allowed(side.Name, path, what, diff.field) {
				t.Errorf("%s %.200s on %s: %s", path, what, side.Name, diff)
			}
		}
	}
}

func (g *golden) allowed(side, path, what, field string) bool {
	for _, d := range goldenDifferences {
		if d.allows(side, path, what, field) {
			g.used[d] = true
			return true
		}
	}
	return false
}

// ask makes a request without following redirects. A compressed body is unpacked.
func ask(t *testing.T, api harness.API, method, path string, header http.Header, body string) answer {
	t.Helper()
	if !strings.HasPrefix(path, "/federate") {
		path = "/api/v1" + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, api.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if api.Tenant != "" {
		req.Header.Set("X-Scope-OrgID", api.Tenant)
	}
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity")
	}
	resp, err := goldenClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s on %s: %v", method, path, api.Name, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		raw, err = unpack(raw, resp.Header.Get("Content-Encoding"))
	}
	if err != nil {
		t.Fatalf("%s %s on %s: %v", method, path, api.Name, err)
	}
	return answer{resp.StatusCode, resp.Header, raw}
}

var goldenClient = &http.Client{
	Timeout:       time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func unpack(raw []byte, encoding string) ([]byte, error) {
	if len(raw) == 0 {
		return raw, nil
	}
	var packed io.Reader
	var err error
	switch encoding {
	case "gzip":
		packed, err = gzip.NewReader(bytes.NewReader(raw))
	case "deflate":
		packed, err = zlib.NewReader(bytes.NewReader(raw))
	default:
		return raw, nil
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", encoding, err)
	}
	return io.ReadAll(packed)
}
