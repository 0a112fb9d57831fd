// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"regexp"
	"time"
)

const (
	// memberNameBytesMax is longer than any host name part, and short enough for
	// a name to be a directory, an object label and a header value.
	memberNameBytesMax = 80
	// zoneBytesMax and addrBytesMax keep the largest meta below the 512 bytes that
	// memberlist allows; TestMetaFitsAtTheLimits adds them up.
	zoneBytesMax = 64
	addrBytesMax = 180
)

var memberNamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// Member is one node of the ring, as it describes itself by gossip.
type Member struct {
	// Name is stable over restarts and unique in the cluster.
	Name string `json:"name"`
	// Zone is the failure domain; copies are placed in distinct zones while there
	// are enough. Members without a zone count as one zone.
	Zone  string `json:"zone"`
	State State  `json:"state"`
	// InternalAddr is the host:port that other members use for writes and reads.
	InternalAddr string `json:"internalAddr"`
	// HTTPAddr is the host:port of the public listener, for humans and links.
	HTTPAddr string `json:"httpAddr"`
	// Generation tells one data directory from another under the same name. It
	// is the time of creation in nanoseconds, so a later directory has a larger one.
	Generation uint64 `json:"generation"`
	// Holes is set while the member says that it lost data which it should hold.
	Holes bool `json:"holes,omitempty"`
	// Refilled is the latest former generation whose data the member has been given
	// back by its peers; 0 is none. See MemberStatus.Replaced.
	Refilled uint64 `json:"refilled,omitempty"`
	// Newcomer is set while the data directory has taken no write yet, because too few
	// members know this one; see Introducer.
	Newcomer bool `json:"newcomer,omitempty"`
}

// MemberStatus is a member and what this node knows of its health.
type MemberStatus struct {
	Member
	// Alive is gossip's opinion. This node itself is always alive.
	Alive bool
	// LastSeen is when any known member last knew this one to be alive; for an alive
	// member the time of the snapshot.
	LastSeen time.Time
	// Forgotten members were dead for too long: they lost their slots, but still
	// hold samples that a query may be missing.
	Forgotten bool
	// Replaced is the generation of the latest other data directory under this name that
	// did not end in LEFT; 0 is none. What it held the member should hold, and does not
	// before it is refilled.
	Replaced uint64
	// Ended is the generation of the latest data directory under this name that ended in
	// LEFT; 0 is none.
	Ended uint64
	// Settled is whether some data directory of this name took writes, so that enough
	// members knew the name once.
	Settled bool
}

// Whole reports whether the member holds all that it should: it lost nothing, and has
// what the data directory that its own came in place of held. One that is not whole takes
// writes and is asked for what it has, but an answer counts it as missing.
func (m MemberStatus) Whole() bool { return !m.Holes && m.Refilled >= m.Replaced }

// InRing reports whether the member owns slots: it is neither forgotten nor LEFT.
func (m MemberStatus) InRing() bool { return !m.Forgotten && m.State != Left }

// ValidateName returns an error that says what a member name may look like.
func ValidateName(name string) error {
	if len(name) > memberNameBytesMax || !memberNamePattern.MatchString(name) {
		return fmt.Errorf("member name %q is not usable: it must be letters, digits, '.', '_' or '-', start and end with a letter or digit, and have at most %d bytes; set --cluster.name", name, memberNameBytesMax)
	}
	return nil
}

func (m Member) validate() error {
	if err := ValidateName(m.Name); err != nil {
		return err
	}
	if len(m.Zone) > zoneBytesMax {
		return fmt.Errorf("zone %q is longer than %d bytes; set a shorter --cluster.zone", m.Zone, zoneBytesMax)
	}
	for _, addr := range []string{m.InternalAddr, m.HTTPAddr} {
		if len(addr) > addrBytesMax {
			return fmt.Errorf("address %q is longer than %d bytes", addr, addrBytesMax)
		}
	}
	if !m.State.valid() {
		return fmt.Errorf("unknown member state %d", uint8(m.State))
	}
	return nil
}
