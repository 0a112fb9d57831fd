// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// RefusalReason is why two nodes do not form a cluster.
type RefusalReason string

const (
	// RefusedSettings: the settings that all members must share differ.
	RefusedSettings RefusalReason = "settings"
	// RefusedKey: the other node has another cluster key, or one of the two has none.
	RefusedKey RefusalReason = "key"
	// RefusedLabel: the other node has another cluster label.
	RefusedLabel RefusalReason = "label"
	// RefusedMeta: the gossip meta of the other node cannot be understood.
	RefusedMeta RefusalReason = "meta"
	// RefusedProtocol: what answers is not a gossip port of this kind.
	RefusedProtocol RefusalReason = "protocol"
	// RefusedName: a living member has the name of this one.
	RefusedName RefusalReason = "name"
)

var refusalReasons = []RefusalReason{RefusedSettings, RefusedKey, RefusedLabel, RefusedMeta, RefusedProtocol, RefusedName}

// remedies are in the words of the flags that the operator has. A refusal because
// of settings names them itself.
var remedies = map[RefusalReason]string{
	RefusedSettings: "start every member with the same values",
	RefusedKey:      "give every member the same --cluster.key-file",
	RefusedLabel:    "give every member the same --cluster.label",
	RefusedMeta:     "run the same version of penstock on all members",
	RefusedProtocol: "keep other clients away from the gossip port",
	RefusedName:     "give each its own --cluster.name and data directory, or stop the one that does not belong",
}

// byMeta reports whether the reason is found in a member's gossip meta, by the
// delegate; it is counted there.
func (r RefusalReason) byMeta() bool { return r == RefusedSettings || r == RefusedMeta }

// RefusedError is a join that failed because of what the other side is, not
// because it could not be reached. Trying again does not help.
type RefusedError struct {
	Addr   string
	Reason RefusalReason
	text   string
}

// Error names the address, the cause with what is known of both sides, and the remedy.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("join of %s refused: %s", e.Addr, e.text)
}

// cause is how one kind of refusal is told from memberlist's words, which it
// passes on as text only, and how it is told to the operator. The words are those
// of memberlist v0.7.0; TestRefusedByRealMembers fails when they change.
type cause struct {
	reason RefusalReason
	words  []string
}

var refusalCauses = []cause{
	{RefusedSettings, []string{settingsDiffer}},
	{RefusedMeta, []string{metaRefused}},
	{RefusedKey, []string{
		"no installed keys could decrypt the message",
		"encryption is configured but remote state is not encrypted",
		"remote state is encrypted and encryption is not configured",
		"Decrypt packet failed",
	}},
	{RefusedLabel, []string{"with unacceptable label", "cannot decode label", "label header cannot be empty"}},
	{RefusedProtocol, []string{"received invalid msgType", "Received invalid msgType", "msgpack decode error"}},
}

// metaRefused starts every refusal because of a meta that cannot be decoded.
const metaRefused = "cannot understand the gossip of member "

// classify finds the kind of refusal in memberlist's words.
func classify(text string) (RefusalReason, bool) {
	for _, c := range refusalCauses {
		for _, w := range c.words {
			if strings.Contains(text, w) {
				return c.reason, true
			}
		}
	}
	return "", false
}

// hungUp reports whether the other side closed the connection without an answer.
// That is all a node learns when its label is refused; but one that is just
// stopping does the same, so it takes several such answers to call it a refusal.
func hungUp(text string) bool {
	for _, w := range []string{io.EOF.Error(), syscall.ECONNRESET.Error(), syscall.EPIPE.Error()} {
		if strings.HasSuffix(text, w) {
			return true
		}
	}
	return false
}

// refusal turns memberlist's words into the error for the operator.
func refusal(addr string, reason RefusalReason, text, label string, hasKey bool) *RefusedError {
	e := &RefusedError{Addr: addr, Reason: reason, text: text}
	switch reason {
	case RefusedKey:
		here := "this member has no cluster key and the other has one"
		if hasKey {
			here = "this member has a cluster key and the other has another or none"
		}
		e.text = fmt.Sprintf("%s (%s); %s", here, text, remedies[reason])
	case RefusedLabel:
		e.text = fmt.Sprintf("it closed the connection without an answer, as a member does whose cluster label is not %q; %s, and check that the address is a gossip port", label, remedies[reason])
	case RefusedProtocol:
		e.text = fmt.Sprintf("what answers there is not penstock gossip (%s); check that --cluster.peer names the gossip port", text)
	}
	return e
}

// innermost strips the wrapping that memberlist.Join puts around the error of a
// single address: a list of one, and "failed to join <addr>: ".
func innermost(err error, addr string) string {
	var list interface{ WrappedErrors() []error }
	if errors.As(err, &list) && len(list.WrappedErrors()) == 1 {
		err = list.WrappedErrors()[0]
	}
	return strings.TrimPrefix(err.Error(), "failed to join "+addr+": ")
}
