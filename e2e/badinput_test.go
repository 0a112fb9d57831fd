// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
)

// TestBadInput: what an operator can get wrong ends the start with exit code 1 and one line that names the cause and
// the remedy.
func TestBadInput(t *testing.T) {
	dir := harness.Dir(t)
	file := func(name, content string) string { return harness.WriteFile(t, dir, name, content) }
	taken := listen(t)
	key := "--cluster.key-file=" + harness.WriteKey(t, dir, "good.key")

	for _, c := range []struct {
		name string
		args []string
		want []string // cause and remedy
	}{
		{
			"unknown flag",
			[]string{"--storge.path=data"},
			[]string{"--storge.path", "penstock --help"},
		},
		{
			"value that is no duration",
			[]string{"--storage.block-duration=soon"},
			[]string{`--storage.block-duration="soon"`, "duration", "penstock --help"},
		},
		{
			"value out of range",
			[]string{"--storage.block-duration=3h"},
			[]string{"--storage.block-duration=3h", "between 10s and 2h"},
		},
		{
			"unknown key in a config file",
			[]string{"--web.config.file=" + file("web.yml", "tls_server_confg: {}\n")},
			[]string{"web.yml", "tls_server_confg"},
		},
		{
			"config file that is not there",
			[]string{"--objstore.config-file=" + filepath.Join(dir, "none.yml")},
			[]string{"--objstore.config-file", "none.yml", "no such file"},
		},
		{
			"unknown key for the object store",
			[]string{"--objstore.config-file=" + file("objstore.yml", "type: S3\nconfig:\n  bucket: b\n  endpoint: localhost:1\n  acces_key: a\n")},
			[]string{"acces_key"},
		},
		{
			"unknown type of object store",
			[]string{"--objstore.config={type: FLOPPY}"},
			[]string{"FLOPPY", "S3", "FILESYSTEM"},
		},
		{
			"data directory that is a file",
			[]string{"--storage.path=" + file("not-a-directory", "")},
			[]string{"--storage.path", "not-a-directory", "choose a directory"},
		},
		{
			"public port taken",
			[]string{"--web.listen-address=" + taken},
			[]string{"--web.listen-address=" + taken, "taken by another process", "choose another port"},
		},
		{
			"internal port taken",
			[]string{"--internal.listen-address=" + taken},
			[]string{"--internal.listen-address=" + taken, "taken by another process", "choose another port"},
		},
		{
			"gossip port taken",
			[]string{"--cluster.listen-address=" + taken, "--cluster.peer=127.0.0.1:1", key},
			[]string{taken, "address already in use", "choose another --cluster.listen-address"},
		},
		{
			"cluster without a key",
			[]string{"--cluster.peer=127.0.0.1:1"},
			[]string{"--cluster.key-file", "openssl rand -base64 32", "--cluster.insecure"},
		},
		{
			"key of a wrong length",
			[]string{"--cluster.peer=127.0.0.1:1", "--cluster.key-file=" + file("short.key", "short\n")},
			[]string{"short.key", "5 bytes", "openssl rand -base64 32"},
		},
		{
			"copies without members",
			[]string{"--cluster.replication-factor=3"},
			[]string{"--cluster.replication-factor=3", "--cluster.peer"},
		},
		{
			"name that cannot be one",
			[]string{"--cluster.name=a/b"},
			[]string{"--cluster.name", "a/b"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			refused(t, append(without(freePorts(t), c.args), c.args...), c.want...)
		})
	}
}

// TestForeignMember: a node that does not belong to the cluster whose peers it was given does not start, and the
// cluster counts what it has refused.
func TestForeignMember(t *testing.T) {
	cluster := env.NewCluster(t, harness.ClusterConfig{Nodes: 2})
	member, foreign := cluster.Nodes[0], cluster.Nodes[1]
	member.Start()
	member.WaitReady()

	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"label", []string{"--cluster.label=other"}, []string{"label", "other", "--cluster.label"}},
		{"key", []string{"--cluster.key-file=" + harness.WriteKey(t, harness.Dir(t), "other.key")}, []string{"key", "--cluster.key-file"}},
		{"replication factor", []string{"--cluster.replication-factor=2"}, []string{"replication", "2", "3", "same"}},
		{"block duration", []string{"--storage.block-duration=1h"}, []string{"1h", "2h", "same"}},
		{"out-of-order window", []string{"--storage.out-of-order-window=1h"}, []string{"1h", "2h", "same"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := member.Sum("penstock_cluster_join_refused_total")
			if err != nil {
				t.Fatal(err)
			}
			refused(t, append(without(foreign.Flags(), c.args), c.args...), c.want...)
			harness.Eventually(t, harness.Patience, "the member counts the refusal", func() error {
				after, err := member.Sum("penstock_cluster_join_refused_total")
				if err == nil && after <= before {
					err = fmt.Errorf("%g refusals, as before", after)
				}
				return err
			})
		})
	}
	ring, err := member.Ring()
	if err != nil {
		t.Fatal(err)
	}
	if len(ring.Members) != 1 {
		t.Fatalf("the ring has members that were refused: %v", ring.Members)
	}
}

// refused runs penstock and wants it to end with exit code 1 and one line, beside its log, with all the words.
func refused(t *testing.T, args []string, words ...string) {
	t.Helper()
	code, out := env.RunPenstock(t, args...)
	var errorLines []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "time=") {
			errorLines = append(errorLines, strings.TrimSpace(line))
		}
	}
	if code != 1 || len(errorLines) != 1 {
		t.Fatalf("exit code %d with %d lines of error, want 1 and 1:\n%s", code, len(errorLines), out)
	}
	t.Log(errorLines[0])
	for _, word := range append(words, "penstock: error: ") {
		if !strings.Contains(errorLines[0], word) {
			t.Errorf("the error does not say %q: %s", word, errorLines[0])
		}
	}
}

// without removes the flags that args give anew.
func without(flags, args []string) []string {
	var out []string
	for _, flag := range flags {
		name, _, _ := strings.Cut(flag, "=")
		given := false
		for _, arg := range args {
			given = given || strings.HasPrefix(arg, name+"=")
		}
		if !given {
			out = append(out, flag)
		}
	}
	return out
}

// freePorts are flags with which a node starts if nothing else is wrong.
func freePorts(t *testing.T) []string {
	return []string{
		"--web.listen-address=" + harness.Loopback(env.FreePort(t)),
		"--internal.listen-address=" + harness.Loopback(env.FreePort(t)),
		"--cluster.listen-address=" + harness.Loopback(env.FreePort(t)),
	}
}

// listen takes a port, for TCP.
func listen(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}
