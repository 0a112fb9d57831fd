// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Proxy is a load balancer in front of all nodes of a cluster.
type Proxy struct {
	API
	Process *Process
}

// StartHAProxy runs deploy/haproxy/haproxy.cfg in front of three nodes.
func (e *Env) StartHAProxy(t testing.TB, addr string, nodes []string) *Proxy {
	t.Helper()
	dir := Dir(t)
	cfg := template(t, DeployFile("haproxy", "haproxy.cfg"), nodes,
		"bind :9009", "bind "+addr,
		"bind :8405", "bind "+Loopback(e.FreePort(t)),
	)
	p := &Proxy{API: API{Name: "haproxy", URL: "http://" + addr}}
	p.Process = Start(t, Command{Name: "haproxy", Path: e.bin.haproxy, Dir: dir, Args: []string{
		"-db", "-f", WriteFile(t, dir, "haproxy.cfg", cfg),
	}})
	waitHTTP(t, p.Process, p.URL+"/-/ready")
	return p
}

// StartNginx runs deploy/nginx/nginx.conf in front of three nodes.
func (e *Env) StartNginx(t testing.TB, addr string, nodes []string) *Proxy {
	t.Helper()
	dir := Dir(t)
	paths := "http {\n"
	// The compiled-in directories belong to the packaged service.
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += fmt.Sprintf("    %s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	cfg := template(t, DeployFile("nginx", "nginx.conf"), nodes,
		"listen 9009;", "listen "+addr+";",
		"http {\n", paths,
	)
	p := &Proxy{API: API{Name: "nginx", URL: "http://" + addr}}
	p.Process = Start(t, Command{Name: "nginx", Path: e.bin.nginx, Dir: dir, Args: []string{
		// One process, so that ending it leaves no worker behind.
		"-g", "daemon off; master_process off; pid " + filepath.Join(dir, "nginx.pid") + ";",
		"-c", WriteFile(t, dir, "nginx.conf", cfg),
	}})
	waitHTTP(t, p.Process, p.URL+"/-/ready")
	return p
}

// template is a deployed file with the addresses of the test: those of the nodes, and pairs of what stands in the file
// and what to put in its place. Something that does not stand in the file fails the test, because the file would then
// be run with an address that the test does not know of.
func template(t testing.TB, path string, nodes []string, replace ...string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read the deployed file: %v", err)
	}
	for i, addr := range nodes {
		replace = append(replace, fmt.Sprintf("penstock-%d:9009", i+1), addr)
	}
	text := string(raw)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s does not contain %q", path, replace[i])
		}
	}
	return strings.NewReplacer(replace...).Replace(text)
}
