// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v2"
)

// ScrapeInterval of the test's own targets: enough samples in the minute that a test has.
const ScrapeInterval = time.Second

// ScrapeJob is one scrape_config. Addrs are host:port.
type ScrapeJob struct {
	Name     string
	Addrs    []string
	Interval time.Duration  // 0: ScrapeInterval
	Extra    map[string]any // other keys of the scrape_config
}

// PrometheusConfig says how a server differs from the file in deploy/prometheus that it runs.
type PrometheusConfig struct {
	Replica string // "a" or "b": which file
	Addr    string // where it listens
	PushTo  string // host:port of the load balancer
	Jobs    []ScrapeJob
	Headers map[string]string // that it sends with every write
	// DropOn429 leaves retry_on_http_429 at the default of Prometheus, which is false.
	DropOn429 bool
}

// Prometheus is a real Prometheus server.
type Prometheus struct {
	API
	Process *Process
	t       testing.TB
}

// StartPrometheus starts a server with a new data directory and waits until it is ready.
func (e *Env) StartPrometheus(t testing.TB, cfg PrometheusConfig) *Prometheus {
	t.Helper()
	dir := Dir(t)
	file, err := prometheusFile(cfg)
	if err != nil {
		t.Fatalf("make the configuration of Prometheus %s: %v", cfg.Replica, err)
	}
	name := "prometheus-" + cfg.Replica
	p := &Prometheus{t: t, API: API{Name: name, URL: "http://" + cfg.Addr}}
	p.Process = Start(t, Command{Name: name, Path: e.bin.prometheus, Dir: dir, Args: []string{
		"--config.file=" + WriteFile(t, dir, "prometheus.yml", file),
		"--storage.tsdb.path=" + filepath.Join(dir, "data"),
		"--web.listen-address=" + cfg.Addr,
		"--enable-feature=exemplar-storage,metadata-wal-records",
	}})
	waitHTTP(t, p.Process, p.URL+"/-/ready")
	return p
}

// StartPrometheusOn starts a server that scrapes nothing on a data directory that has blocks, which it keeps for ever.
func (e *Env) StartPrometheusOn(t testing.TB, dataDir string) API {
	t.Helper()
	dir, addr := Dir(t), Loopback(e.FreePort(t))
	p := Start(t, Command{Name: "prometheus", Path: e.bin.prometheus, Dir: dir, Args: []string{
		"--config.file=" + WriteFile(t, dir, "prometheus.yml", "{}\n"),
		"--storage.tsdb.path=" + dataDir, "--storage.tsdb.retention.time=100y",
		"--web.listen-address=" + addr,
	}})
	api := API{Name: "prometheus", URL: "http://" + addr}
	waitHTTP(t, p, api.URL+"/-/ready")
	return api
}

// prometheusFile is the deployed file with the jobs, the intervals and the address of the test. What it says of
// remote write is what is tested, but for the two waits that a test has no time for.
func prometheusFile(cfg PrometheusConfig) (string, error) {
	raw, err := os.ReadFile(DeployFile("prometheus", "prometheus-"+cfg.Replica+".yml"))
	if err != nil {
		return "", err
	}
	// Only what a test changes is typed; the rest is carried over as it stands.
	var file struct {
		Global      map[string]any   `yaml:"global"`
		Scrape      []map[string]any `yaml:"scrape_configs"`
		RemoteWrite []map[string]any `yaml:"remote_write"`
		Rest        map[string]any   `yaml:",inline"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return "", err
	}
	if len(file.RemoteWrite) != 1 {
		return "", fmt.Errorf("the deployed file has %d remote_write sections, want 1", len(file.RemoteWrite))
	}
	file.Global["scrape_interval"] = ScrapeInterval.String()
	file.Global["scrape_timeout"] = ScrapeInterval.String()
	file.Scrape = nil
	for _, job := range cfg.Jobs {
		file.Scrape = append(file.Scrape, job.config())
	}
	write := file.RemoteWrite[0]
	write["url"] = "http://" + cfg.PushTo + "/api/v1/write"
	if len(cfg.Headers) > 0 {
		write["headers"] = cfg.Headers
	}
	for section, setting := range map[string]struct{ key, value string }{
		"queue_config":    {"batch_send_deadline", "500ms"},
		"metadata_config": {"send_interval", "2s"},
	} {
		fields, ok := write[section].(map[any]any)
		if !ok {
			return "", fmt.Errorf("the deployed file has no %s in its remote_write section", section)
		}
		fields[setting.key] = setting.value
	}
	if cfg.DropOn429 {
		delete(write["queue_config"].(map[any]any), "retry_on_http_429")
	}
	out, err := yaml.Marshal(file)
	return string(out), err
}

func (j ScrapeJob) config() map[string]any {
	out := map[string]any{"job_name": j.Name, "static_configs": []map[string]any{{"targets": j.Addrs}}}
	if j.Interval > 0 {
		out["scrape_interval"] = j.Interval.String()
	}
	for key, value := range j.Extra {
		out[key] = value
	}
	return out
}

// Lost is nil while the server has given up nothing that it had to send. Retries are no loss.
func (p *Prometheus) Lost() error {
	m, err := p.Metrics()
	if err != nil {
		return err
	}
	for _, kind := range []string{"samples", "histograms", "exemplars"} {
		failed, err := m.Sum("prometheus_remote_storage_" + kind + "_failed_total")
		if err != nil {
			return err
		}
		// Prometheus exports this one only once it has dropped something.
		dropped := m.Total("prometheus_remote_storage_" + kind + "_dropped_total")
		if failed != 0 || dropped != 0 {
			return fmt.Errorf("%s: %g %s failed, %g dropped", p.Name, failed, kind, dropped)
		}
	}
	return nil
}

// Retried is how many samples, histograms, exemplars and entries of metadata the server has sent again.
func (p *Prometheus) Retried() float64 {
	p.t.Helper()
	m, err := p.Metrics()
	if err != nil {
		p.t.Fatal(err)
	}
	var n float64
	for _, kind := range []string{"samples", "histograms", "exemplars", "metadata"} {
		retried, err := m.Sum("prometheus_remote_storage_" + kind + "_retried_total")
		if err != nil {
			p.t.Fatal(err)
		}
		n += retried
	}
	return n
}

// Delivered is nil when nothing is waiting to be sent.
func (p *Prometheus) Delivered() error {
	pending, err := p.Sum("prometheus_remote_storage_samples_pending")
	if err != nil {
		return err
	}
	if pending != 0 {
		return fmt.Errorf("%s: %g samples are pending", p.Name, pending)
	}
	return nil
}

// WriteHeader are the headers of a remote write 1.0 request.
func WriteHeader() http.Header {
	return http.Header{
		"Content-Type":                      {"application/x-protobuf"},
		"Content-Encoding":                  {"snappy"},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}
}
