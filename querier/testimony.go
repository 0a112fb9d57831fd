// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// What a member says with every answer: of its own data, and which data directories of
// which members it knows. docs/format/read.md is the page of it. The asking side may have
// heard less, because gossip takes its time or the process stood still; see judge.

const (
	// headerSelf is in an answer: which data directory it is from, and what that lacks.
	headerSelf = "X-Penstock-Self"
	// trailerLacks ends a streamed read of a member that came to lack something meanwhile.
	trailerLacks = "X-Penstock-Lacks"
	// headerMembers is in a question, with the digest of what the asking side knows of the
	// members; and in an answer, with the same digest, or else with all that the answering
	// one knows.
	headerMembers = "X-Penstock-Members"

	// testimonyVersion begins each of the three. Another version says nothing.
	testimonyVersion = "1;"
	// factsMax bounds how many members one answer can tell of. It is what a ring remembers.
	factsMax = 512
)

// fact is what a member knows of the data directories under one name.
type fact struct {
	name, zone string
	generation uint64 // The one in use, or last in use; 0 if the member left for good.
	replaced   uint64 // The latest other one that did not end by leaving.
	ended      uint64 // The latest that did: nothing of it is missed.
}

// selfReport is what a member says of its own data.
type selfReport struct {
	said       bool // Members of the first versions do not say it.
	generation uint64
	refilled   uint64 // The latest former generation that it was given back.
	lacks      string // Empty if it lacks nothing.
}

// testimony is what one answer says.
type testimony struct {
	self  selfReport
	facts []fact // None if it knows just what the asking side knows.
}

// facts are what this side knows.
func (ms Membership) facts() []fact {
	out := make([]fact, 0, len(ms.Members)+len(ms.Gone))
	for _, m := range ms.Members {
		out = append(out, fact{m.Name, m.Zone, m.Generation, m.Replaced, ms.ended(m.Name)})
	}
	for _, g := range ms.Gone {
		if !ms.has(g.Name) {
			out = append(out, fact{name: g.Name, ended: g.Generation})
		}
	}
	return out
}

// self is what this member says of its own data.
func (ms Membership) self() selfReport {
	for _, m := range ms.Members {
		if m.Self {
			return selfReport{said: true, generation: m.Generation, refilled: m.Refilled, lacks: cmp.Or(m.Lacks, m.absent())}
		}
	}
	return selfReport{}
}

func (ms Membership) has(name string) bool {
	for _, m := range ms.Members {
		if m.Name == name {
			return true
		}
	}
	return false
}

func (ms Membership) ended(name string) uint64 {
	for _, g := range ms.Gone {
		if g.Name == name {
			return g.Generation
		}
	}
	return 0
}

// encodeFacts writes facts as a header's value.
func encodeFacts(facts []fact) string {
	var b strings.Builder
	b.WriteString(testimonyVersion)
	for i, f := range facts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(f.name)
		b.WriteByte(' ')
		b.WriteString(url.QueryEscape(f.zone))
		for _, n := range [...]uint64{f.generation, f.replaced, f.ended} {
			b.WriteByte(' ')
			b.WriteString(strconv.FormatUint(n, 10))
		}
	}
	return b.String()
}

// digestOf is the short form of facts.
func digestOf(encoded string) string {
	return testimonyVersion + "=" + strconv.FormatUint(xxhash.Sum64String(encoded), 16)
}

var errTestimony = errors.New("what the member says of the others is damaged")

// decodeFacts reads a header's value. A digest, and what another version says, is nothing.
func decodeFacts(value string) ([]fact, error) {
	list, ok := strings.CutPrefix(value, testimonyVersion)
	if !ok || list == "" || strings.HasPrefix(list, "=") {
		return nil, nil
	}
	if strings.Count(list, ",") >= factsMax {
		return nil, errTestimony
	}
	var facts []fact
	for entry := range strings.SplitSeq(list, ",") {
		fields := strings.Split(entry, " ")
		if len(fields) < 5 || fields[0] == "" {
			return nil, errTestimony
		}
		zone, err := url.QueryUnescape(fields[1])
		if err != nil {
			return nil, errTestimony
		}
		f := fact{name: fields[0], zone: zone}
		for i, to := range [...]*uint64{&f.generation, &f.replaced, &f.ended} {
			if *to, err = strconv.ParseUint(fields[2+i], 10, 64); err != nil {
				return nil, errTestimony
			}
		}
		facts = append(facts, f)
	}
	return facts, nil
}

func (s selfReport) encode() string {
	value := fmt.Sprintf("%s%d %d", testimonyVersion, s.generation, s.refilled)
	if s.lacks != "" {
		value += " " + url.QueryEscape(s.lacks)
	}
	return value
}

func decodeSelf(value string) (s selfReport, err error) {
	value, ok := strings.CutPrefix(value, testimonyVersion)
	if !ok {
		return s, nil
	}
	fields := strings.Split(value, " ")
	if len(fields) < 2 {
		return s, errTestimony
	}
	fields = append(fields, "") // What it lacks is left out if that is nothing.
	var errs [3]error
	s.said = true
	s.generation, errs[0] = strconv.ParseUint(fields[0], 10, 64)
	s.refilled, errs[1] = strconv.ParseUint(fields[1], 10, 64)
	s.lacks, errs[2] = url.QueryUnescape(fields[2])
	if errors.Join(errs[:]...) != nil {
		return s, errTestimony
	}
	return s, nil
}

// decodeTestimony reads what the head of an answer says.
func decodeTestimony(h http.Header) (t testimony, err error) {
	if t.self, err = decodeSelf(h.Get(headerSelf)); err != nil {
		return t, err
	}
	t.facts, err = decodeFacts(h.Get(headerMembers))
	return t, err
}

// testify writes what this member has to say into the head of an answer to r. It is called
// before anything is read: what is made good meanwhile may not be in the answer.
func testify(w http.ResponseWriter, r *http.Request, ms Membership) {
	if self := ms.self(); self.said {
		w.Header().Set(headerSelf, self.encode())
	}
	said := encodeFacts(ms.facts())
	if digest := digestOf(said); r.Header.Get(headerMembers) == digest {
		said = digest
	}
	w.Header().Set(headerMembers, said)
}
