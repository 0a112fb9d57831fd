// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// stopWithin is how long a process may take to end after SIGTERM: a node takes a snapshot of its head first.
	stopWithin = 30 * time.Second
	// logTailLines are shown of each process' log when a test fails.
	logTailLines = 20
)

// Process is one program under test.
type Process struct {
	Name string

	t       testing.TB
	cmd     *exec.Cmd
	logPath string
	logFrom int64         // where the output of this start begins
	ended   chan struct{} // closed once the process is reaped
	waitErr error         // valid after ended
	wanted  atomic.Bool   // the test asked it to end
}

// Command says what to run.
type Command struct {
	Name string   // in messages and as the name of the log file
	Path string   // the program
	Args []string // without the program
	Env  []string // added to the environment of the test
	Dir  string   // where the log goes; the working directory
}

// Start runs a command until the test ends. Its output goes to <Dir>/<Name>.log, to which a restart appends. When the
// test fails the end of the log is printed.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	logPath := filepath.Join(c.Dir, c.Name+".log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("open the log of %s: %v", c.Name, err)
	}
	defer logFile.Close()
	info, err := logFile.Stat()
	if err != nil {
		t.Fatalf("open the log of %s: %v", c.Name, err)
	}
	fmt.Fprintf(logFile, "--- %s %s\n", c.Path, strings.Join(c.Args, " "))

	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.Name, err)
	}
	p := &Process{Name: c.Name, t: t, cmd: cmd, logPath: logPath, logFrom: info.Size(), ended: make(chan struct{})}
	go func() {
		p.waitErr = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		ended, wanted := p.Ended(), p.wanted.Load()
		p.Kill()
		// One that was stopped by the test has nothing to tell, and a later start of it may have the end of the log.
		if t.Failed() && (!ended || !wanted) {
			t.Logf("%s (pid %d, ended by itself: %v), end of its log:\n%s", c.Name, cmd.Process.Pid, ended, p.LogTail())
		}
	})
	return p
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended reports whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Kill ends the process with SIGKILL and returns when it is gone.
func (p *Process) Kill() {
	p.wanted.Store(true)
	if !p.Ended() {
		// The process may end between the check and the signal, which is then an error of no interest.
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
	}
	<-p.ended
}

// Suspend stops the process where it is, without its knowledge: its sockets stay open and the kernel goes on
// acknowledging for them.
func (p *Process) Suspend() { p.t.Helper(); p.signal(syscall.SIGSTOP) }

// Resume has it go on.
func (p *Process) Resume() { p.t.Helper(); p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal %s: %v", p.Name, err)
	}
}

// Terminate asks the process to end with SIGTERM, waits for it and returns its exit code. One that does not end is
// killed and fails the test.
func (p *Process) Terminate() int {
	p.t.Helper()
	p.wanted.Store(true)
	p.signal(syscall.SIGTERM)
	return p.Wait(stopWithin)
}

// Wait returns the exit code of a process that ends by itself.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.Kill()
		p.t.Fatalf("%s did not end within %s", p.Name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Log is everything the process has written since this start of it, after the command in a line of its own.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return string(b[p.logFrom:])
}

// LogTail is the end of the log.
func (p *Process) LogTail() string {
	lines := bytes.Split(bytes.TrimSpace([]byte(p.Log())), []byte("\n"))
	if len(lines) > logTailLines {
		lines = lines[len(lines)-logTailLines:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// output is the log without the line that names the command.
func (p *Process) output() string {
	_, out, _ := strings.Cut(p.Log(), "\n")
	return out
}
