// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package sim plays clusters in one process, thousands of them, each with faults of its
// own, and holds them to what an acknowledgement promises. All of it is tests.
//
//	senders (HA pair, 1.0 and 2.0)          readers, dedup on and off
//	     |  retry 5xx, never 2xx or 4xx          |
//	     v                                       v
//	+- process m1 -----------------------------------------------+
//	|  ingest: Handler, Distributor, Local   querier, dedup      |   x 3 to 6, real code
//	|  ingest/hint: real files       ring: History, View, Ring   |
//	|  ---- crash points before and after each durable step ---- |
//	|  store: model of tsdbstore    membership: failure detector |
//	+--------|--------------------------------|------------------+
//	         v                                v
//	  disk: page cache, synced part    network: a delay, loss and cut
//	  write failures, replacement      for each directed link
//	         \_____ clock: a bubble of testing/synctest _____/
//
//	ledger: knows each sample by its value; judges each answer, and every store at the end
//
// A seed is a plan: how many members and zones, whether writes are synced, how soon a
// member is suspected and forgotten, and when what goes wrong: kills, pauses, restarts one
// by one, partitions (halves, one host, one way, flapping), slow and lossy links, disks
// that fail, are nearly full, are replaced by empty ones or lose what was not synced, wrong
// clocks, members that are added, and deaths at a crash point. Then everything is mended
// and must come right. invariants_test.go lists the promises.
//
// Data is taken only within the promise: from one host at a time, the next when the first
// has been refilled; from all at once when each write is synced. Everything else may
// happen to any number of members at once.
//
// What keeps it honest:
//
//   - TestMutations switches off hints, the quorum, the fail-stop, the generation check,
//     the majority rule, the debts of short rings and of hints that a host crash took, what
//     answers say of the members and the introduction of new ones, one at a time, and must
//     see a promise break.
//   - TestModelAgreesWithTSDB does the same random things to the model of the store and to
//     a real tsdbstore, with restarts and kills, and compares verdicts and contents.
//   - TestEveryCrashPoint dies at each point, and fails if it never came by one.
//
// Not in it: gossip on the wire (ring tests it), HTTP on sockets (e2e), cutting and
// shipping of blocks, the bucket, histograms and exemplars, damage of files, hints that
// expire, and refill range by range (refill_test.go has its place: it asks the real
// fan-out for everything). A sample that nobody acknowledged may be seen and be gone
// again, when the one owner that has it goes; that is no violation.
//
// # Playing a seed again
//
//	go test ./sim -run 'TestSeed$' -seed=42 -v
//
// plays the same plan and logs every step. The plan, and what becomes of each message, is a
// function of the seed and of what is decided, so that one part draws nothing from another.
// What the seed does not decide is in which order the Go scheduler runs goroutines that are
// ready at one moment, how it picks among ready channels, and the order of maps: the
// details of a run differ from one time to the next. Failures that hang on the plan come
// again each time; one that hangs on a race in a moment may take many. Repeat with -count.
package sim
