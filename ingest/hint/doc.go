// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package hint keeps on disk the writes that an owner could not take, and gives
// them to it, in order, when it is back.
//
//	Append --> newest segment          Replay: seal the newest, then
//	             |  full, or sealed            |
//	             v                             v
//	  <dir>/<member>/0000000000000001.hint  read oldest first --> send
//	  <dir>/<member>/0000000000000002.hint     |            |
//	  ...                                      | sent: move the position
//	                                           v            v
//	                              all sent: delete    failed: stop here
//
// Payloads are opaque. A hint may be sent twice, after a crash, so what receives
// it must be idempotent; it is never skipped silently. What is lost to age, to
// the bound on bytes, to a failed write, to a damaged file or to a crash of the
// host is a [Debt]: the member is told when it misses writes that no hint brings.
//
// The format is in docs/format/hint.md.
package hint
