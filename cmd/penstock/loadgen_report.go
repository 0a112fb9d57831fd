// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/internal/workload"
)

// loadgenReport is the line that loadgen prints. The figures of the receiver
// are there only with --pid.
type loadgenReport struct {
	Protocol         string            `json:"protocol"`
	Series           int               `json:"series"`
	Samples          uint64            `json:"samples"`
	Requests         uint64            `json:"requests"`
	Retries          uint64            `json:"retries"`
	Seconds          float64           `json:"seconds"`
	SamplesPerSecond float64           `json:"samples_per_second"`
	BytesSent        uint64            `json:"bytes_sent"`
	Status           map[string]uint64 `json:"status"`
	Written          uint64            `json:"samples_written_header,omitempty"`
	ClientCPUSeconds float64           `json:"client_cpu_s"`

	CPUSeconds         *float64 `json:"cpu_s,omitempty"`
	CPUMicrosPerSample *float64 `json:"cpu_us_per_sample,omitempty"`
	MaxRSSMB           *float64 `json:"max_rss_mb,omitempty"`
	EndRSSMB           *float64 `json:"end_rss_mb,omitempty"`
}

func (c *loadgenConfig) report(s workload.Stats, used usage) loadgenReport {
	r := loadgenReport{
		Protocol:         c.protocol,
		Series:           c.series,
		Samples:          s.Samples,
		Requests:         s.Requests,
		Retries:          s.Retries,
		Seconds:          used.elapsed.Seconds(),
		SamplesPerSecond: float64(s.Samples) / used.elapsed.Seconds(),
		BytesSent:        s.Bytes,
		Status:           s.Statuses,
		Written:          s.Written,
		ClientCPUSeconds: used.clientCPU.Seconds(),
	}
	if len(c.pids) == 0 {
		return r
	}
	cpu := used.receiver.cpu.Seconds()
	perSample := cpu * 1e6 / float64(s.Samples)
	peak, end := mebibytes(used.receiver.peakRSS), mebibytes(used.receiver.rss)
	r.CPUSeconds, r.CPUMicrosPerSample, r.MaxRSSMB, r.EndRSSMB = &cpu, &perSample, &peak, &end
	return r
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// meter measures this process and the receiver's from one moment on.
type meter struct {
	receiver  processes
	before    processUsage
	clientCPU time.Duration
	start     time.Time
}

// usage is what was used between the start and the stop of a meter. RSS
// figures of the receiver are not differences.
type usage struct {
	elapsed   time.Duration
	clientCPU time.Duration
	receiver  processUsage
}

func startMeter(pids []int) (*meter, error) {
	m := &meter{receiver: newProcesses(pids)}
	m.receiver.resetPeak()
	var err error
	if m.before, err = m.receiver.usage(); err != nil {
		return nil, fmt.Errorf("--pid: %w", err)
	}
	if m.clientCPU, err = ownCPU(); err != nil {
		return nil, err
	}
	m.start = time.Now()
	return m, nil
}

func (m *meter) stop() (usage, error) {
	u := usage{elapsed: time.Since(m.start)}
	var err error
	if u.receiver, err = m.receiver.usage(); err != nil {
		return usage{}, fmt.Errorf("--pid: %w", err)
	}
	u.receiver.cpu -= m.before.cpu
	own, err := ownCPU()
	u.clientCPU = own - m.clientCPU
	return u, err
}

// ownCPU is the user and system time that this process has used.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("read own CPU time: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}
