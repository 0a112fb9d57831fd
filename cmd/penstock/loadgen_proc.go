// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The unit of CPU times in /proc/PID/stat. Linux reports them to programs in
// 1/100 s on every architecture, whatever its own tick is.
const procTick = 10 * time.Millisecond

// processes reads what a set of processes has used, from Linux' /proc.
type processes struct {
	root string
	pids []int
}

// processUsage is the sum over processes.
type processUsage struct {
	cpu     time.Duration // user and system, since each process started
	rss     int64         // bytes
	peakRSS int64         // bytes, since resetPeak
}

func newProcesses(pids []int) processes { return processes{root: "/proc", pids: pids} }

// resetPeak makes the peak RSS start over. Where that is not permitted the peak
// is that of the whole life of the process, which is still a true bound.
func (p processes) resetPeak() {
	for _, pid := range p.pids {
		_ = os.WriteFile(p.file(pid, "clear_refs"), []byte("5"), 0)
	}
}

func (p processes) usage() (processUsage, error) {
	var sum processUsage
	for _, pid := range p.pids {
		stat, err := os.ReadFile(p.file(pid, "stat"))
		if err != nil {
			return sum, fmt.Errorf("read process %d: %w", pid, err)
		}
		cpu, err := parseStatCPU(string(stat))
		if err != nil {
			return sum, fmt.Errorf("read process %d: %w", pid, err)
		}
		status, err := os.ReadFile(p.file(pid, "status"))
		if err != nil {
			return sum, fmt.Errorf("read process %d: %w", pid, err)
		}
		sum.cpu += cpu
		sum.rss += parseStatusBytes(string(status), "VmRSS")
		sum.peakRSS += parseStatusBytes(string(status), "VmHWM")
	}
	return sum, nil
}

func (p processes) file(pid int, name string) string {
	return filepath.Join(p.root, strconv.Itoa(pid), name)
}

// parseStatCPU adds up utime and stime, the 14th and 15th field. The second is
// the name of the program in parentheses and may hold spaces and parentheses.
func parseStatCPU(stat string) (time.Duration, error) {
	const utime, stime = 14 - 3, 15 - 3 // counted from the third field
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= stime {
		return 0, fmt.Errorf("stat has %d fields after the name, want more than %d", len(fields), stime)
	}
	var ticks int64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * procTick, nil
}

// parseStatusBytes returns a line such as "VmRSS:  1024 kB" in bytes; 0 where
// it is missing, as it is for a process that is about to end.
func parseStatusBytes(status, key string) int64 {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != key {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return n << 10
	}
	return 0
}
