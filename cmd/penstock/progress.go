// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	progressRefresh = 100 * time.Millisecond
	progressBar     = 24 // Columns of the bar itself.
	progressWidth   = 80 // When the terminal does not say how wide it is.
)

// progress is a line on a terminal that says how far something is and when it may be done. Where nobody watches, in a file
// or a pipe, it writes nothing. It is safe for concurrent use.
type progress struct {
	out   io.Writer // Nil: nobody watches.
	width func() int
	now   func() time.Time
	title string
	unit  func(int64) string

	mtx         sync.Mutex
	total, done int64
	what        string
	begin, last time.Time
}

// newProgress returns a progress on stderr towards total, which is shown by unit.
func newProgress(title string, total int64, unit func(int64) string) *progress {
	p := &progress{title: title, total: total, unit: unit, now: time.Now, width: func() int { return progressWidth }}
	p.begin = p.now()
	if fd := int(os.Stderr.Fd()); os.Getenv("TERM") != "dumb" && term.IsTerminal(fd) {
		p.out = os.Stderr
		p.width = func() int {
			if width, _, err := term.GetSize(fd); err == nil && width > 0 {
				return width
			}
			return progressWidth
		}
	}
	return p
}

// add counts n more as done. What is done at the moment is shown behind the bar; an empty text keeps the last one.
func (p *progress) add(n int64, what string) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.done += n
	if what != "" {
		p.what = what
	}
	if p.out == nil || p.now().Sub(p.last) < progressRefresh {
		return
	}
	p.last = p.now()
	fmt.Fprintf(p.out, "\r%s\x1b[K", cut(p.line(), p.width()-1))
}

// finish takes the line away.
func (p *progress) finish() {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.out != nil && !p.last.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *progress) line() string {
	part := 1.0
	if p.total > 0 {
		part = min(1, float64(p.done)/float64(p.total))
	}
	filled := int(part * progressBar)
	left := ""
	if spent := p.now().Sub(p.begin); part > 0.01 && part < 1 && spent > time.Second {
		left = ", " + time.Duration(float64(spent)*(1-part)/part).Round(time.Second).String() + " left"
	}
	return fmt.Sprintf("%s [%s%s] %3.0f%% %s of %s%s  %s", p.title, strings.Repeat("=", filled), strings.Repeat(" ", progressBar-filled),
		100*part, p.unit(p.done), p.unit(p.total), left, p.what)
}

// humanBytes is a size as people read it.
func humanBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// humanCount is a number as people read it.
func humanCount(n int64) string {
	const units = "kMGTPE"
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 1000 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f%c", value, units[unit])
}
