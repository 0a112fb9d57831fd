// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStandInDemo is not a test: it is a demo that is about to be killed. It
// starts one process and tells its pid.
func TestStandInDemo(*testing.T) {
	dir := os.Getenv(standInEnv)
	if !filepath.IsAbs(dir) {
		return
	}
	p, err := startProcess(exec.Command("sleep", "600"), filepath.Join(dir, "log"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = os.WriteFile(filepath.Join(dir, "pid.tmp"), []byte(strconv.Itoa(p.pid())), 0o600)
	_ = os.Rename(filepath.Join(dir, "pid.tmp"), filepath.Join(dir, "pid"))
	<-p.exited
}

func TestChildrenDieWithAKilledDemo(t *testing.T) {
	dir := t.TempDir()
	demo := exec.Command(os.Args[0], "-test.run=^TestStandInDemo$")
	demo.Env = append(os.Environ(), standInEnv+"="+dir)
	require.NoError(t, demo.Start())
	var child int
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			return false
		}
		child, err = strconv.Atoi(string(raw))
		return err == nil
	}, demoPatience, 5*time.Millisecond)
	require.NoError(t, syscall.Kill(child, 0))

	require.NoError(t, demo.Process.Kill())
	_ = demo.Wait()
	// The orphan may stay a zombie where process 1 reaps late; it does not run.
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(raw), ") Z ")
	}, demoPatience, 5*time.Millisecond)
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	dir := t.TempDir()
	start := func(name, script string) *process {
		log := filepath.Join(dir, name)
		p, err := startProcess(exec.Command("sh", "-c", script), log)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return tail(log) == "ready" }, demoPatience, 5*time.Millisecond)
		return p
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	deaf := start("deaf", `trap "" TERM; echo ready; while :; do sleep 0.01; done`)
	deaf.stop(impatient)
	require.True(t, deaf.killed())
	require.ErrorContains(t, deaf.err, "signal: killed")

	polite := start("polite", `trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.01; done`)
	polite.stop(t.Context())
	require.False(t, polite.killed())
	require.ErrorContains(t, polite.err, "exit status 3")
	require.Equal(t, "ready\nbye", tail(filepath.Join(dir, "polite")))
}
