// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// versitygwVersion pins the S3 server. It is built as a program of its own, with the dependencies that its authors
// tested it with, because one module for it and Penstock would choose other versions for both.
const versitygwVersion = "v1.8.0"

// minioVersion pins the other S3 server, the last one of its makers that the module proxy has.
const minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"

// prometheusPackage is built from the version that e2e/go.mod requires (it is a tool of that module).
const prometheusPackage = "github.com/prometheus/prometheus/cmd/prometheus"

// binaryVariable names a build of Penstock to test instead of one of the tree, such as one with the race detector.
const binaryVariable = "PENSTOCK_E2E_BINARY"

// binaries are the programs that the tests run.
type binaries struct {
	penstock   string
	prometheus string
	versitygw  string
	haproxy    string
	nginx      string
}

// build makes the programs that are not there yet and finds the ones that the system must have. Programs of other
// projects are kept in e2e/.cache by version; Penstock is built each time, from the tree that the test runs in.
func build(ctx context.Context) (binaries, error) {
	var b binaries
	var err error
	if b.haproxy, err = systemProgram("haproxy"); err != nil {
		return b, err
	}
	if b.nginx, err = systemProgram("nginx"); err != nil {
		return b, err
	}
	if b.penstock, err = BuildPenstock(ctx); err != nil {
		return b, err
	}
	if b.prometheus, err = BuildPrometheus(ctx); err != nil {
		return b, err
	}
	b.versitygw, err = buildVersitygw(ctx, cacheDir())
	return b, err
}

func cacheDir() string { return filepath.Join(ModuleDir(), ".cache") }

// ModuleDir is the directory of the e2e module.
func ModuleDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// DeployFile is the path of a file below deploy.
func DeployFile(elem ...string) string {
	return filepath.Join(append([]string{filepath.Dir(ModuleDir()), "deploy"}, elem...)...)
}

// systemProgram finds a program that the distribution installs. Debian keeps daemons in /usr/sbin, which is not on
// every user's path.
func systemProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: the end-to-end tests need haproxy and nginx (apt-get install haproxy nginx)", name)
}

// BuildPenstock builds Penstock from the tree and returns the path of the program.
func BuildPenstock(ctx context.Context) (string, error) {
	if bin := os.Getenv(binaryVariable); bin != "" {
		return filepath.Abs(bin)
	}
	bin := filepath.Join(cacheDir(), "penstock")
	// In its own module: that of the tests knows only what the tests import of it.
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/penstock")
	cmd.Dir = filepath.Dir(ModuleDir())
	return bin, runCommand(cmd, nil)
}

// BuildPrometheus builds the Prometheus of the module, if it is not there yet, and returns the path of the program.
func BuildPrometheus(ctx context.Context) (string, error) {
	var out bytes.Buffer
	if err := goCommand(ctx, &out, "list", "-m", "-f", "{{.Version}}", "github.com/prometheus/prometheus"); err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir(), "prometheus-"+strings.TrimSpace(out.String()))
	bin := filepath.Join(dir, "prometheus")
	if isFile(bin) {
		return bin, nil
	}
	// Without the service discoveries of the clouds, which are most of the program and none of the test.
	err := buildInto(dir, func(tmp string) error {
		return goCommand(ctx, nil, "build", "-tags", "remove_all_sd", "-o", filepath.Join(tmp, "prometheus"), prometheusPackage)
	})
	return bin, err
}

func buildVersitygw(ctx context.Context, cache string) (string, error) {
	return install(ctx, filepath.Join(cache, "versitygw-"+versitygwVersion), "github.com/versity/versitygw/cmd/versitygw", versitygwVersion)
}

// install builds a program of another module into dir, if it is not there yet, and returns its path.
func install(ctx context.Context, dir, pkg, version string) (string, error) {
	bin := filepath.Join(dir, path.Base(pkg))
	if isFile(bin) {
		return bin, nil
	}
	err := buildInto(dir, func(tmp string) error {
		cmd := exec.CommandContext(ctx, "go", "install", pkg+"@"+version)
		cmd.Env = append(os.Environ(), "GOBIN="+tmp)
		return runCommand(cmd, nil)
	})
	return bin, err
}

// buildInto has build fill a temporary directory that becomes dir only when it succeeds, so that a build that was
// broken off is never taken for a finished one.
func buildInto(dir string, build func(tmp string) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("create the cache of built programs: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return fmt.Errorf("create the cache of built programs: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := build(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	return os.Rename(tmp, dir)
}

// goCommand runs the go tool in the e2e module.
func goCommand(ctx context.Context, stdout *bytes.Buffer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = ModuleDir()
	return runCommand(cmd, stdout)
}

func runCommand(cmd *exec.Cmd, stdout *bytes.Buffer) error {
	var stderr bytes.Buffer
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
