// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// PathIntroduce is where a member is asked whether it knows the asking one.
	PathIntroduce = "/internal/v1/introduce"

	introduceVersion  = 1
	introduceTimeout  = 2 * time.Second
	introduceBytesMax = 1 << 20
)

// introduceJSON is what a member answers a newcomer; docs/format/introduce.md.
type introduceJSON struct {
	Version int `json:"version"`
	// Knows is whether it has the asking member in its ring, with the data directory that it has
	// now. It has that on disk, and so will know it after a crash.
	Knows bool `json:"knows"`
	// Settled is MemberStatus.Settled of the asking member.
	Settled bool `json:"settled"`
	// Replaced is MemberStatus.Replaced of the asking member.
	Replaced uint64 `json:"replaced,omitempty"`
	// Newcomer is whether the answering member is one itself.
	Newcomer bool `json:"newcomer"`
	// Members are the names of those in its ring.
	Members []string `json:"members"`
}

// IntroduceHandler answers newcomers. save puts what this member knows on disk.
func IntroduceHandler(view func() *View, save func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		generation, err := strconv.ParseUint(r.FormValue("generation"), 10, 64)
		if err != nil {
			http.Error(w, "generation is not a number", http.StatusBadRequest)
			return
		}
		v := view()
		reply := introduceJSON{Version: introduceVersion}
		if m, known := v.Member(r.FormValue("member")); known && m.InRing() && m.Generation == generation {
			if err := save(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			reply.Knows, reply.Settled, reply.Replaced = true, m.Settled, m.Replaced
		}
		for _, m := range v.Members {
			if m.Name == v.Self {
				reply.Newcomer = m.Newcomer
			}
			if m.InRing() {
				reply.Members = append(reply.Members, m.Name)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply) // The newcomer sees that it was cut.
	})
}

// Introducer finds out whether a newcomer may take writes: whether those that know it could
// not all be missing from a complete answer of a member that has not heard of it.
//
// That matters because a write that it takes may be acknowledged on its word and that of
// one other. If that other is down, an answer of somebody who knows only the others is
// not short of more members than may be missing, and would be taken for complete. So
// somebody among those that answer must know the newcomer, and say so. It does not matter how
// fast gossip is, only that enough have heard before the first write.
type Introducer struct {
	View   func() *View
	Client *http.Client // To the other members.
	Scheme string       // Of their internal listeners; empty is http.
}

// Ask asks all members. It returns whether that is enough, and else on whom it hangs.
func (i *Introducer) Ask(ctx context.Context) (introduced bool, waiting []string) {
	view := i.View()
	self, _ := view.Member(view.Self)
	replies := map[string]introduceJSON{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, m := range view.Members {
		if m.Name == view.Self || !m.InRing() || !m.Alive {
			continue
		}
		asked.Go(func() {
			reply, err := i.ask(ctx, m, self.Member)
			if err != nil {
				return // Who does not say that it knows us may not.
			}
			mu.Lock()
			defer mu.Unlock()
			replies[m.Name] = reply
		})
	}
	asked.Wait()
	return decideIntroduced(view, replies)
}

func (i *Introducer) ask(ctx context.Context, m MemberStatus, self Member) (introduceJSON, error) {
	var reply introduceJSON
	ctx, cancel := context.WithTimeout(ctx, introduceTimeout)
	defer cancel()
	scheme := i.Scheme
	if scheme == "" {
		scheme = "http"
	}
	form := url.Values{"member": {self.Name}, "generation": {strconv.FormatUint(self.Generation, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+m.InternalAddr+PathIntroduce+"?"+form.Encode(), nil)
	if err != nil {
		return reply, err
	}
	resp, err := i.Client.Do(req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		// A member of a version that knows of no newcomers. It cannot say so in its answers
		// either; what it is asked is whether it lets us in.
		return introduceJSON{Version: introduceVersion, Knows: true}, nil
	}
	if resp.StatusCode != http.StatusOK {
		return reply, fmt.Errorf("it answered %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, introduceBytesMax)).Decode(&reply); err != nil {
		return reply, fmt.Errorf("read its answer: %w", err)
	}
	if reply.Version != introduceVersion {
		return reply, fmt.Errorf("it speaks version %d, not %d", reply.Version, introduceVersion)
	}
	return reply, nil
}

// decideIntroduced returns whether the replies, by name, are enough, and else who is to be
// waited for. It is pure. A newcomer is introduced if it knows everybody whom those know that
// answer, so that it places writes as they do, and what it had before, so that it knows what it
// lacks; and if one of these holds:
//
//   - The name is settled: enough knew it before it had this data directory. An answer from
//     another directory is recognised by its generation.
//   - All others know it. This is how a cluster begins, where all are newcomers.
//   - Those that know it and are no newcomers could not all be missing from a complete answer.
//     Newcomers do not count, because the asking member may not have heard of them either.
//
// With no others it is too early to say, unless there is one copy of everything.
func decideIntroduced(view *View, replies map[string]introduceJSON) (bool, []string) {
	others := map[string]string{} // Zones by name.
	for _, m := range view.Members {
		if m.Name != view.Self && m.InRing() {
			others[m.Name] = m.Zone
		}
	}
	if len(others) == 0 {
		return view.Ring.RF() == 1, nil
	}
	var waiting, strangers []string
	var vouching []string // Their zones.
	self, _ := view.Member(view.Self)
	settled := false
	for name, zone := range others {
		reply := replies[name]
		if !reply.Knows {
			waiting = append(waiting, name)
			continue
		}
		settled = settled || reply.Settled
		if !reply.Newcomer {
			vouching = append(vouching, zone)
		}
		if reply.Replaced > max(self.Replaced, self.Ended) {
			strangers = append(strangers, view.Self) // As it was.
		}
		for _, further := range reply.Members {
			if _, known := others[further]; !known && further != view.Self && !slices.Contains(strangers, further) {
				strangers = append(strangers, further)
			}
		}
	}
	enough := settled || len(waiting) == 0 || !maybeMissing(vouching, others, view.Ring.RF())
	waiting = append(waiting, strangers...)
	slices.Sort(waiting)
	waiting = slices.Compact(waiting)
	return enough && len(strangers) == 0, waiting
}

// maybeMissing reports whether members in these zones could all be missing from an answer that
// the read path calls complete: at most RF-W of them, or all in one zone of at least RF.
func maybeMissing(zones []string, all map[string]string, rf int) bool {
	w := rf/2 + 1
	if len(zones) <= rf-w {
		return true
	}
	distinct := map[string]struct{}{}
	for _, zone := range all {
		distinct[zone] = struct{}{}
	}
	one := !slices.ContainsFunc(zones, func(z string) bool { return z != zones[0] })
	return w >= 2 && len(distinct) >= rf && one
}
