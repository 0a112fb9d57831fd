// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"fmt"
	"net/url"
	"strings"
)

// memberNameBytesMax keeps a name that needs escaping in every byte within 255,
// the length of a file name.
const memberNameBytesMax = 80

// dirName makes a directory name of a member's name: every byte that is not a
// letter, a digit, '_', '-' or a '.' inside the name becomes %XX.
func dirName(member string) (string, error) {
	if member == "" || len(member) > memberNameBytesMax {
		return "", fmt.Errorf("member name %.100q has %d bytes, want 1 to %d", member, len(member), memberNameBytesMax)
	}
	var b strings.Builder
	for i := range len(member) {
		switch c := member[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String(), nil
}

// memberName is the reverse; ok is false for a directory that dirName did not name.
func memberName(dir string) (member string, ok bool) {
	member, err := url.PathUnescape(dir)
	if err != nil {
		return "", false
	}
	again, err := dirName(member)
	return member, err == nil && again == dir
}
