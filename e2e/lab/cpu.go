// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// procTick is the unit of CPU times in /proc/PID/stat on every Linux.
const procTick = 10 * time.Millisecond

// CPU is what all processes have used since they were started, user and system. It needs Linux.
func (s *Servers) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, cmd := range s.Running {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of %s: %w", cmd.Path, err)
		}
		used, err := parseStat(string(stat))
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of %s: %w", cmd.Path, err)
		}
		sum += used
	}
	return sum, nil
}

// parseStat adds up the 14th and 15th field. The second is the name of the program in parentheses, which may hold anything.
func parseStat(stat string) (time.Duration, error) {
	const user, system = 14 - 3, 15 - 3 // Counted from the third.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= system {
		return 0, fmt.Errorf("%d fields after the name", len(fields))
	}
	var ticks int64
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * procTick, nil
}
