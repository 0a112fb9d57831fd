// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import "log/slog"

// Secret is a string that shows itself only to code that asks for it: not in logs, not in a printed or marshalled
// configuration, not in an error.
type Secret string

const redacted = "<secret>"

// Reveal returns what is hidden.
func (s Secret) Reveal() string { return string(s) }

// String implements fmt.Stringer. An empty secret is shown as empty, since its absence is what an operator looks for.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString implements fmt.GoStringer, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalYAML implements yaml.Marshaler.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalText keeps a secret out of JSON too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
