// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/alecthomas/kingpin/v2"

// flagValues is every flag of cmd as text, as /api/v1/status/flags shows it.
// Inline object storage configuration holds credentials and is left out.
func flagValues(cmd *kingpin.CmdClause) map[string]string {
	out := map[string]string{}
	for _, f := range cmd.Model().Flags {
		value := f.Value.String()
		if f.Name == "objstore.config" && value != "" {
			value = "<secret>"
		}
		out[f.Name] = value
	}
	return out
}
