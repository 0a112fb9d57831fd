// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/alecthomas/kingpin/v2"

// ingestConfig is what a node does to what it is sent.
type ingestConfig struct {
	// zeroInjection is named after Prometheus' feature created-timestamp-zero-ingestion.
	zeroInjection bool
}

func addIngestFlags(cmd *kingpin.CmdClause, cfg *config) {
	cmd.Flag("ingest.created-timestamp-zero-injection", "Store a zero at the start timestamp that a remote write 2.0 sample has, before the sample. Give it to all members or to none.").
		BoolVar(&cfg.ingest.zeroInjection)
}
