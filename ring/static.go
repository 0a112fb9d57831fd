// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Static is a cluster of one: no gossip, no peers. It has the methods of Cluster,
// so that a node alone is wired like any other. Safe for concurrent use.
type Static struct {
	mu   sync.Mutex
	rf   int
	view atomic.Pointer[View]
}

// NewStatic returns the cluster whose only member is self.
func NewStatic(self Member, rf int) *Static {
	s := &Static{rf: rf}
	s.publish(self)
	return s
}

// View returns the current snapshot; never nil.
func (s *Static) View() *View { return s.view.Load() }

// SetState changes the state of the only member. It never leaves LEFT.
func (s *Static) SetState(state State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := s.View().Members[0].Member
	if self.State == Left && state != Left {
		return errLeft
	}
	self.State = state
	s.publish(self)
	return nil
}

// SetData notes whether this node lacks data; there is nobody to give it back.
func (s *Static) SetData(holes bool, refilled uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	self := s.View().Members[0].Member
	self.Holes, self.Refilled = holes, refilled
	s.publish(self)
	return nil
}

// Join does nothing: there is nobody to join.
func (s *Static) Join(context.Context) error { return nil }

// Run waits for ctx to end.
func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Leave sets the state to LEAVING, unless it is LEFT.
func (s *Static) Leave(time.Duration) error {
	if err := s.SetState(Leaving); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// Addr is empty: a cluster of one has no gossip address.
func (s *Static) Addr() string { return "" }

func (s *Static) publish(self Member) {
	status := MemberStatus{Member: self, Alive: true, LastSeen: time.Now()}
	v := &View{Self: self.Name, Members: []MemberStatus{status}}
	ringMembers := []Member{self}
	if self.State == Left {
		ringMembers = nil
	}
	v.Ring = New(ringMembers, s.rf)
	s.view.Store(v)
}
