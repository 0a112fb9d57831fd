// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v2"

	"github.com/penstock-io/penstock/e2e/harness"
)

// The files for HAProxy, nginx and Prometheus are run by the stories. These tests hold the rest of deploy together.

// TestPrometheusFiles: Prometheus' own loader takes both, and the two servers of the pair differ in nothing but their
// replica label and the protocol.
func TestPrometheusFiles(t *testing.T) {
	load := func(replica string) *config.Config {
		cfg, err := config.LoadFile(harness.DeployFile("prometheus", "prometheus-"+replica+".yml"), false, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.GlobalConfig.ExternalLabels.Get(harness.ReplicaLabel); got != replica {
			t.Errorf("prometheus-%s.yml has the replica label %q", replica, got)
		}
		write := cfg.RemoteWriteConfigs[0]
		if !write.SendExemplars || !write.SendNativeHistograms || !write.QueueConfig.RetryOnRateLimit {
			t.Errorf("prometheus-%s.yml does not send everything, or gives up on 429", replica)
		}
		return cfg
	}
	a, b := load("a"), load("b")
	if a.RemoteWriteConfigs[0].ProtobufMessage == b.RemoteWriteConfigs[0].ProtobufMessage {
		t.Error("both speak the same remote write protocol; the pair is there to show both")
	}
	b.GlobalConfig.ExternalLabels = a.GlobalConfig.ExternalLabels
	b.RemoteWriteConfigs[0].ProtobufMessage = a.RemoteWriteConfigs[0].ProtobufMessage
	if !reflect.DeepEqual(a.GlobalConfig, b.GlobalConfig) || !reflect.DeepEqual(a.RemoteWriteConfigs, b.RemoteWriteConfigs) ||
		!reflect.DeepEqual(a.ScrapeConfigs, b.ScrapeConfigs) {
		t.Error("prometheus-a.yml and prometheus-b.yml differ in more than the replica label and the protocol")
	}
}

// TestFlagsInDeploy: every flag that a file of deploy gives to penstock is one that penstock has.
func TestFlagsInDeploy(t *testing.T) {
	code, help := env.RunPenstock(t, "--help")
	if code != 0 {
		t.Fatalf("penstock --help ended with exit code %d", code)
	}
	known := map[string]bool{}
	for _, flag := range regexp.MustCompile(`--(\[no-\])?[a-z][a-z.-]+`).FindAllString(help, -1) {
		known[strings.Replace(flag, "[no-]", "", 1)] = true
	}
	for _, path := range []string{"systemd/penstock.env", "docker/Dockerfile"} {
		flags := regexp.MustCompile(`--(storage|cluster|web|internal|objstore|query|log)\.[a-z.-]+`).FindAllString(readDeploy(t, path), -1)
		if len(flags) == 0 {
			t.Errorf("%s gives no flags", path)
		}
		for _, flag := range flags {
			if !known[flag] {
				t.Errorf("%s gives %s, which penstock does not have", path, flag)
			}
		}
	}
	for name, service := range composeFile(t).Services {
		for _, arg := range service.Command {
			if flag, _, _ := strings.Cut(arg, "="); strings.HasPrefix(name, "penstock-") && !known[flag] {
				t.Errorf("service %s of the compose file gives %s, which penstock does not have", name, flag)
			}
		}
	}
}

// compose is what the tests look at of the compose file.
type compose struct {
	Services map[string]struct {
		Image    string   `yaml:"image"`
		Command  []string `yaml:"command"`
		Hostname string   `yaml:"hostname"`
		Volumes  []string `yaml:"volumes"`
		Build    struct {
			Context    string `yaml:"context"`
			Dockerfile string `yaml:"dockerfile"`
		} `yaml:"build"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

func composeFile(t *testing.T) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(readDeploy(t, "compose/docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func readDeploy(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(harness.DeployFile(filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestComposeFile: what the services mount is there, and the names by which the mounted files call each other are
// services.
func TestComposeFile(t *testing.T) {
	c := composeFile(t)
	dir := harness.DeployFile("compose")
	for name, service := range c.Services {
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(source, ".") {
				if _, ok := c.Volumes[source]; !ok {
					t.Errorf("service %s mounts volume %s, which is not declared", name, source)
				}
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, source)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
		}
		if service.Build.Dockerfile != "" {
			if _, err := os.Stat(filepath.Join(dir, service.Build.Context, service.Build.Dockerfile)); err != nil {
				t.Errorf("service %s: %v", name, err)
			}
			if service.Hostname != name {
				t.Errorf("service %s has the hostname %q, which becomes the name of the member", name, service.Hostname)
			}
		}
	}
	address := regexp.MustCompile(`\b([a-z][a-z0-9-]*):(9009|9090|8405|7070|7946)\b`)
	for _, path := range []string{
		"haproxy/haproxy.cfg", "nginx/nginx.conf", "prometheus/prometheus-a.yml", "compose/penstock/objstore.yml",
		"grafana/provisioning/datasources/penstock.yml", "compose/docker-compose.yml",
	} {
		for _, m := range address.FindAllStringSubmatch(readDeploy(t, path), -1) {
			if _, ok := c.Services[m[1]]; !ok && m[1] != "localhost" {
				t.Errorf("%s calls %s, which is no service of the compose file", path, m[0])
			}
		}
	}
}

// TestGrafanaFile: the data source is one of Prometheus, at the load balancer.
func TestGrafanaFile(t *testing.T) {
	var file struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Type string `yaml:"type"`
			URL  string `yaml:"url"`
		} `yaml:"datasources"`
	}
	if err := yaml.Unmarshal([]byte(readDeploy(t, "grafana/provisioning/datasources/penstock.yml")), &file); err != nil {
		t.Fatal(err)
	}
	if file.APIVersion != 1 || len(file.Datasources) == 0 {
		t.Fatalf("no data sources of version 1: %+v", file)
	}
	for _, d := range file.Datasources {
		if d.Type != "prometheus" || d.URL != "http://haproxy:9009" {
			t.Errorf("data source of type %s at %s", d.Type, d.URL)
		}
	}
}

// TestSystemdUnit: systemd has nothing to say against the unit, once it runs a program that is there.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	unit := strings.ReplaceAll(readDeploy(t, "systemd/penstock.service"), "/usr/local/bin/penstock", "/bin/true")
	path := harness.WriteFile(t, harness.Dir(t), "penstock.service", unit)
	if out, err := exec.Command(analyze, "verify", "--recursive-errors=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
