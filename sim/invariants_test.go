// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

// The promises that a run is held to. A run names them when they break.
const (
	// durability: a complete answer has every sample that was acknowledged before the
	// question, also after it was in another answer.
	durability = "durability"
	// noInvention: what is returned was sent, with that value, at that time.
	noInvention = "no invention"
	// exactlyOnce: each time once, in order.
	exactlyOnce = "exactly once"
	// completeOrError: with nothing wrong, every member gives a complete answer. That an
	// answer which cannot be complete says so is durability.
	completeOrError = "complete or error"
	// redundancyRestored: with nothing wrong any more, every acknowledged sample has all
	// its copies within settleWait, or the quorum where a hint was lost with its disk.
	redundancyRestored = "redundancy restored"
	// minoritySafety: the smaller side of a partition acknowledges nothing once the
	// other side may have forgotten it.
	minoritySafety = "no minority acknowledges"
	// oneRing: with nothing wrong, all members have one ring.
	oneRing = "one ring"
	// noRefusal: a good sample is never answered 4xx, which its sender would drop.
	noRefusal = "no refusal of good samples"
)
