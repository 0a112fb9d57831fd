// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package api serves Prometheus' HTTP API, version 1.
//
//	request ── /api/v1/... ── ready? ── body bound ── Params: tenant, dedup, … into ctx
//	                                                      │
//	               ┌──────────────────────────────────────┤
//	  ours: metadata, status/{config,flags,buildinfo,     │ everything else:
//	        tsdb,tsdb/blocks}, explain=dedup              │ Prometheus' own web/api/v1
//
// Prometheus' handlers answer whatever they can, so that parameters, limits, encodings and errors are
// exactly those that clients know. Ours stand before those whose answer a Prometheus takes from its scrape
// targets, its configuration file or its one TSDB. What Prometheus has and we have not (targets, rules,
// Alertmanagers) answers with empty lists.
package api
