// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseKey(t *testing.T) {
	for _, n := range []int{16, 24, 32} {
		key := make([]byte, n)
		for i := range key {
			key[i] = byte(i * 11)
		}
		encoded := base64.StdEncoding.EncodeToString(key)
		for _, content := range []string{string(key), string(key) + "\n", encoded, encoded + "\n", encoded + "\r\n", " " + encoded} {
			got, err := ParseKey([]byte(content))
			require.NoError(t, err, "%q", content)
			require.Equal(t, key, got, "%q", content)
		}
	}
	// Text of a good length is a raw key where it is no base64 of one.
	raw := []byte("correct-horse-battery-staple-1!!")
	got, err := ParseKey(raw)
	require.NoError(t, err)
	require.Equal(t, raw, got)
}

func TestParseKeyRefuses(t *testing.T) {
	for _, n := range []int{0, 1, 15, 17, 23, 25, 31, 33, 64} {
		_, err := ParseKey(bytes.Repeat([]byte{'!'}, n))
		require.ErrorContains(t, err, "must have 16, 24 or 32, raw or as base64; make one with: openssl rand -base64 32", "%d bytes", n)
		require.NotContains(t, err.Error(), "!")
	}
	_, err := ParseKey([]byte("secret"))
	require.EqualError(t, err, "cluster key has 6 bytes, but must have 16, 24 or 32, raw or as base64; make one with: openssl rand -base64 32")
}
