// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"strings"
	"time"
)

// ProtocolVersion is the version of the requests between members. It grows when
// an old member could not understand a new one.
const ProtocolVersion = 1

// RFMax bounds the replication factor. More copies than five cost more than
// they protect, and the quorum rules are tested exhaustively up to here.
const RFMax = 5

// Settings are what all members must share for the ring to be one ring. They
// travel in the gossip meta by value, so that a member that differs can be told
// what it has and what the others have.
type Settings struct {
	// RF is the number of copies of every series.
	RF int
	// OutOfOrderWindow bounds how late a sample may be. If it differed, one owner
	// would reject what another accepts.
	OutOfOrderWindow time.Duration
	// BlockDuration is the length of a block. If it differed, blocks of two
	// members would not compact with each other.
	BlockDuration time.Duration
	// HashVersion and ProtocolVersion are those of the binary; zero means the
	// constants of this package.
	HashVersion, ProtocolVersion int
}

func (s Settings) withDefaults() Settings {
	if s.HashVersion == 0 {
		s.HashVersion = HashVersion
	}
	if s.ProtocolVersion == 0 {
		s.ProtocolVersion = ProtocolVersion
	}
	return s
}

func (s Settings) validate() error {
	if s.RF < 1 || s.RF > RFMax {
		return fmt.Errorf("replication factor %d is not within 1 to %d; set --cluster.replication-factor", s.RF, RFMax)
	}
	if s.OutOfOrderWindow < 0 || s.BlockDuration < 0 {
		return fmt.Errorf("negative duration in settings: out-of-order window %s, block duration %s", s.OutOfOrderWindow, s.BlockDuration)
	}
	return nil
}

// differences names each setting in which s (here) and other (there) differ, both
// values, and the flag to change. It is empty if they agree.
func (s Settings) differences(other Settings) string {
	var diffs []string
	add := func(what, flag string, here, there any) {
		if here != there {
			diffs = append(diffs, fmt.Sprintf("%s is %v here and %v there (%s)", what, here, there, flag))
		}
	}
	const upgrade = "run the same version of penstock"
	add("replication factor", "--cluster.replication-factor", s.RF, other.RF)
	add("out-of-order window", "--storage.out-of-order-window", s.OutOfOrderWindow, other.OutOfOrderWindow)
	add("block duration", "--storage.block-duration", s.BlockDuration, other.BlockDuration)
	add("hash version", upgrade, s.HashVersion, other.HashVersion)
	add("protocol version", upgrade, s.ProtocolVersion, other.ProtocolVersion)
	return strings.Join(diffs, ", ")
}

// settingsDiffer starts every refusal because of settings. memberlist passes
// errors on as text, so this is also how the refusal is recognised.
const settingsDiffer = "settings differ from those of member "

// check returns an error that names both values and the remedy if a peer's
// settings are not ours.
func (s Settings) check(peer string, theirs Settings) error {
	diff := s.differences(theirs)
	if diff == "" {
		return nil
	}
	return fmt.Errorf("%s%q: %s; start every member with the same values", settingsDiffer, peer, diff)
}
