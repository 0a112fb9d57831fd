// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// Enough for a node to leave in order. Whatever it would do beyond is for the
	// data, which is thrown away, while somebody waits for the prompt.
	demoStopGrace = 3 * time.Second

	// What is shown of the log of a node that ended: the last lines name the cause.
	demoTailBytes, demoTailLines = 8 << 10, 12
)

// process is one running child. It leads a process group of its own, so that
// the Ctrl-C of a terminal reaches the demo only, which then stops the children
// in order; and it dies with the demo where the system can do that.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed after the process was waited for
	err    error         // how it ended; read only after exited
}

// startProcess starts cmd with both outputs appended to logFile.
func startProcess(cmd *exec.Cmd, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		if p.err = cmd.Wait(); p.err == nil {
			p.err = errors.New("exit status 0")
		}
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the process to end and waits until it has. When it takes too long,
// or patient ends, its whole group is killed.
func (p *process) stop(patient context.Context) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	grace := time.NewTimer(demoStopGrace)
	defer grace.Stop()
	select {
	case <-p.exited:
		return
	case <-grace.C:
	case <-patient.Done():
	}
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.exited
}

// killed reports whether the process was ended by a signal rather than by
// itself. Only valid after exited.
func (p *process) killed() bool {
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// tail returns the last lines of a log file, or why it cannot be read.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("(no log: %s)", err)
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-demoTailBytes), io.SeekStart)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return fmt.Sprintf("(no log: %s)", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-demoTailLines):], "\n")
}
