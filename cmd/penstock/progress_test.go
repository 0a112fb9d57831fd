// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := newProgress("copy", 4<<20, humanBytes)
	require.Nil(t, p.out, "tests have no terminal")
	p.add(1, "unseen")
	p.finish()

	p = newProgress("copy", 4<<20, humanBytes)
	p.out, p.begin = &out, now
	p.now = func() time.Time { return now }
	now = now.Add(3 * time.Second)
	p.add(3<<20, "block")
	p.add(1<<20, "too soon to be shown")
	require.Equal(t, "\rcopy [==================      ]  75% 3.0 MiB of 4.0 MiB, 1s left  block\x1b[K", out.String())
	p.width = func() int { return 20 }
	now = now.Add(time.Second)
	p.add(0, "")
	require.Contains(t, out.String(), "\rcopy [=============\x1b[K", "not wider than the terminal")
	p.finish()
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"))
}

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB"} {
		require.Equal(t, want, humanBytes(n))
	}
	for n, want := range map[int64]string{9999: "9999", 10_000: "10.0k", 12_345_678: "12.3M"} {
		require.Equal(t, want, humanCount(n))
	}
}
