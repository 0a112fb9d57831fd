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
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	// On a terminal the summary rewrites itself; in a file every line stays.
	demoRefreshTerminal = 2 * time.Second
	demoRefreshPlain    = 10 * time.Second

	clearToEnd = "\x1b[J"
)

// demoScreen shows text that stays and, on a terminal, one table below it that
// rewrites itself in place. It is safe for concurrent use.
type demoScreen struct {
	terminal bool
	width    func() int    // of the terminal, in columns; 0 when unknown
	refresh  time.Duration // between two summaries

	mtx    sync.Mutex
	out    io.Writer
	table  []string // as drawn
	closed bool     // no summary is shown any more
	err    error    // the first failed write; nothing is written after it
}

func newDemoScreen(out io.Writer) *demoScreen {
	s := &demoScreen{out: out, refresh: demoRefreshPlain}
	if f, ok := out.(*os.File); ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd())) {
		s.terminal, s.refresh = true, demoRefreshTerminal
		s.width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 0
			}
			return width
		}
	}
	return s
}

// print shows text that stays, on lines of its own.
func (s *demoScreen) print(text string) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if !s.terminal {
		s.write(text)
		return
	}
	s.write(s.erase() + text + s.draw(s.table))
}

// show replaces the summary. It returns the error of the first write that
// failed since the screen was made: nobody is looking any more.
func (s *demoScreen) show(summary demoSummary) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.closed {
		return s.err
	}
	if s.terminal {
		s.write(s.erase() + s.draw(summary.table()))
	} else {
		s.write(strings.Join(summary.lines(), "\n") + "\n")
	}
	return s.err
}

// closeTable leaves the summary as it stands; what is printed later goes below.
func (s *demoScreen) closeTable() {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.closed, s.table = true, nil
}

// erase returns what moves the cursor to where the table starts and clears it.
func (s *demoScreen) erase() string {
	if len(s.table) == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dA\r%s", len(s.table), clearToEnd)
}

// draw returns the table, no line wider than the terminal: a line that wraps
// would make the number of lines to move up wrong.
func (s *demoScreen) draw(table []string) string {
	if len(table) == 0 {
		return ""
	}
	width := s.width()
	drawn := make([]string, len(table))
	for i, line := range table {
		drawn[i] = cut(line, width)
	}
	s.table = table
	return strings.Join(drawn, "\n") + "\n"
}

func (s *demoScreen) write(text string) {
	if s.err != nil {
		return
	}
	if _, err := io.WriteString(s.out, text); err != nil {
		s.err = fmt.Errorf("write the summary: %w", err)
	}
}

// cut returns at most width runes of line; all of it for a width of 0.
func cut(line string, width int) string {
	if width == 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}
