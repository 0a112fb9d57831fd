// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"encoding/base64"
	"fmt"
)

// ParseKey reads the content of a key file: 16, 24 or 32 bytes, raw or as
// standard base64, in either case possibly followed by a newline.
func ParseKey(content []byte) ([]byte, error) {
	if validKeyLength(len(content)) && !isBase64Key(content) {
		return bytes.Clone(content), nil
	}
	text := bytes.TrimSpace(content)
	if isBase64Key(text) {
		key, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return nil, fmt.Errorf("decode cluster key: %w", err)
		}
		return key, nil
	}
	if raw := bytes.TrimRight(content, "\r\n"); validKeyLength(len(raw)) {
		return bytes.Clone(raw), nil
	}
	return nil, keyLengthError(len(text))
}

// isBase64Key reports whether text is base64 of a key. 32 characters can be that
// and a raw key at once; base64 is preferred, on every member alike.
func isBase64Key(text []byte) bool {
	key, err := base64.StdEncoding.DecodeString(string(text))
	return err == nil && validKeyLength(len(key))
}

func validKeyLength(n int) bool { return n == 16 || n == 24 || n == 32 }

// keyLengthError never shows the key itself.
func keyLengthError(n int) error {
	return fmt.Errorf("cluster key has %d bytes, but must have 16, 24 or 32, raw or as base64; make one with: openssl rand -base64 32", n)
}
