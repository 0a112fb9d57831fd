// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Ports are handed out from below the range that Linux gives to outgoing connections (from 32768), because a node that
// is restarted needs the port it had, and a connection of another process must not have taken it meanwhile.
const (
	firstPort = 20000
	lastPort  = 32000
)

// Env is what all tests of one process share: the programs and the ports. It is safe for concurrent use.
type Env struct {
	bin binaries

	mtx      sync.Mutex
	nextPort int
}

// NewEnv builds the programs that are missing, which takes minutes the first time.
func NewEnv(ctx context.Context) (*Env, error) {
	bin, err := build(ctx)
	if err != nil {
		return nil, err
	}
	// Two test processes at a time start at different places.
	return &Env{bin: bin, nextPort: firstPort + os.Getpid()%(lastPort-firstPort)}, nil
}

// FreePort returns a loopback port on which neither TCP nor UDP is in use. It is not handed out again.
func (e *Env) FreePort(t testing.TB) int {
	t.Helper()
	e.mtx.Lock()
	defer e.mtx.Unlock()
	for range lastPort - firstPort {
		port := e.nextPort
		if e.nextPort++; e.nextPort > lastPort {
			e.nextPort = firstPort
		}
		if portFree(port) {
			return port
		}
	}
	t.Fatalf("no free port between %d and %d", firstPort, lastPort)
	return 0
}

func portFree(port int) bool {
	tcp, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", Loopback(port))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}

// Loopback is the address of a port.
func Loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
