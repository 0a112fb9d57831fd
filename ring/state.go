// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import "fmt"

// State is what a member says of itself. A member that is dead keeps the last
// state that was heard of it.
type State uint8

const (
	// Joining members own slots but are not ready to take writes, for example
	// because their TSDBs are still replaying.
	Joining State = iota
	// Active members take writes and answer queries.
	Active
	// Leaving members are restarting. They keep their slots, and come back.
	Leaving
	// Left members are gone for good: their data is in the bucket and they own
	// no slots. It is the last state of a generation.
	Left
)

var stateNames = [...]string{Joining: "JOINING", Active: "ACTIVE", Leaving: "LEAVING", Left: "LEFT"}

// String returns the upper-case name of the state.
func (s State) String() string {
	if !s.valid() {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return stateNames[s]
}

// MarshalText makes a state a JSON string. It fails for an unknown state.
func (s State) MarshalText() ([]byte, error) {
	if !s.valid() {
		return nil, fmt.Errorf("unknown member state %d", uint8(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for i, name := range stateNames {
		if name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("unknown member state %q", text)
}

func (s State) valid() bool { return int(s) < len(stateNames) }
