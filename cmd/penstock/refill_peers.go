// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/refill"
	"github.com/penstock-io/penstock/ring"
)

const (
	surveyTimeout  = 10 * time.Second
	surveyBytesMax = 16 << 20 // A million tenants' names would fit.

	// refillPeerBytes bounds what one peer's answer to one pass of a refill takes in
	// memory: half of what a query may, and some 100,000 series of a block range.
	refillPeerBytes = 128 << 20

	// refillPeerTimeout is how long a peer may say nothing: it looks through all series of a
	// tenant for the first of a part, and has queries to answer, while nobody waits for this answer.
	refillPeerTimeout = time.Minute
)

// donors are the members that a refill asks, out of one view.
type donors struct {
	self    string
	members []ring.MemberStatus // All others that may have something, those away too.
	// spare is how many of them may fail to answer.
	spare int
	// lacking have losses themselves, and are too many to be sure of every sample: what all
	// of them have together is all that there is.
	lacking []string
	gone    []querier.Gone
	// departed is whether a member left for good, whose data is in the bucket.
	departed bool
}

// donorsOf decides whom to ask, and who may be missing. It is pure.
//
// A sample was acknowledged by W owners, of which this member may have been one. So
// W-1 others have it, and of the others W-2 may be missing. A member that lost data
// itself counts as missing, though it is asked. When more lack data than may be missing,
// nobody can have everything any more; then all others must answer.
func donorsOf(view *ring.View) (donors, error) {
	rf := view.Ring.RF()
	w := rf/2 + 1
	if w < 2 {
		return donors{}, fmt.Errorf("replication factor %d: %w", rf, refill.ErrNoCopies)
	}
	d := donors{self: view.Self, gone: membershipOf(view, "").Gone}
	for _, m := range view.Members {
		switch {
		case m.Name == view.Self:
		case m.State == ring.Left:
			d.departed = true
		default:
			d.members = append(d.members, m)
			if !m.Whole() {
				d.lacking = append(d.lacking, m.Name)
			}
		}
	}
	if len(d.members) < w-1 {
		return donors{}, fmt.Errorf("this member knows %d other members, and %d of them have each sample", len(d.members), w-1)
	}
	if d.spare = w - 2 - len(d.lacking); d.spare < 0 {
		d.spare = 0
	} else {
		d.lacking = nil
	}
	return d, nil
}

// membership is the donors in the words of the read path: a cluster without this member in which
// just as many may be missing as the refill can spare.
func (d donors) membership(scheme string) querier.Membership {
	spare := d.spare
	// What the others know of this member is not asked for: it is what brought it here.
	ms := querier.Membership{Gone: append(slices.Clip(d.gone), querier.Gone{Name: d.self, Generation: math.MaxUint64})}
	for _, m := range d.members {
		ms.Members = append(ms.Members, querier.Member{
			Name: m.Name, URL: scheme + "://" + m.InternalAddr,
			Alive: m.Alive, Serving: serving(m), Forgotten: m.Forgotten,
			Generation: m.Generation, Replaced: m.Replaced, Refilled: m.Refilled,
			Excused: !m.Whole(), // It is in spare, or in lacking.
		})
	}
	if d.askBucket() {
		// One more that is always missing makes the bucket be asked for the whole range.
		ms.Members = append(ms.Members, querier.Member{Name: "members that left"})
		spare++
	}
	ms.RF = 2*spare + 1
	return ms
}

func (d donors) askBucket() bool { return d.departed || len(d.lacking) > 0 }

func serving(m ring.MemberStatus) bool { return m.State == ring.Active || m.State == ring.Leaving }

// refillPeers is the refill's source: the fan-out without this member.
type refillPeers struct{ s *server }

// Survey implements refill.Source.
func (p refillPeers) Survey(ctx context.Context) (refill.Survey, error) {
	view := p.s.members.View()
	d, err := donorsOf(view)
	if err != nil {
		return refill.Survey{}, err
	}
	self, _ := view.Member(view.Self)
	replies := make([]surveyReply, len(d.members))
	errs := make([]error, len(d.members))
	var asked sync.WaitGroup
	for i, m := range d.members {
		asked.Go(func() { replies[i], errs[i] = p.ask(ctx, m, self.Member) })
	}
	asked.Wait()
	return summarize(d, replies, errs)
}

// summarize is what the answers say together.
func summarize(d donors, replies []surveyReply, errs []error) (refill.Survey, error) {
	var survey refill.Survey
	var missing []string
	for i, m := range d.members {
		if errs[i] != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", m.Name, errs[i]))
			continue
		}
		r := replies[i]
		survey.Tenants = append(survey.Tenants, r.Tenants...)
		if !r.Routing {
			survey.NotRouting = append(survey.NotRouting, m.Name)
		}
		survey.OldestHint = max(survey.OldestHint, time.Duration(r.OldestHintSeconds*float64(time.Second)))
	}
	if len(missing) > d.spare {
		return refill.Survey{}, fmt.Errorf("members that may have what was lost do not answer: %s", strings.Join(missing, ", "))
	}
	slices.Sort(survey.Tenants)
	survey.Tenants = slices.Compact(survey.Tenants)
	return survey, nil
}

func (p refillPeers) ask(ctx context.Context, m ring.MemberStatus, self ring.Member) (surveyReply, error) {
	var reply surveyReply
	switch {
	case m.Forgotten:
		return reply, errors.New("forgotten")
	case !m.Alive:
		return reply, errors.New("unreachable")
	case !serving(m):
		return reply, errors.New("not serving yet")
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	form := url.Values{"member": {self.Name}, "generation": {strconv.FormatUint(self.Generation, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.s.scheme+"://"+m.InternalAddr+pathSurvey+"?"+form.Encode(), nil)
	if err != nil {
		return reply, err
	}
	resp, err := p.s.client.Do(req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return reply, fmt.Errorf("it answered %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, surveyBytesMax)).Decode(&reply); err != nil {
		return reply, fmt.Errorf("read its answer: %w", err)
	}
	if reply.Version != surveyVersion {
		return reply, fmt.Errorf("it speaks version %d of the survey, not %d", reply.Version, surveyVersion)
	}
	return reply, nil
}

// Read implements refill.Source.
func (p refillPeers) Read(ctx context.Context, q refill.Query) (refill.Reading, error) {
	d, err := donorsOf(p.s.members.View())
	if err != nil {
		return refill.Reading{}, err
	}
	ms := d.membership(p.s.scheme)
	cfg := querier.Config{
		Local:        p.s.store, // Never asked: this member is not among them.
		Members:      func() querier.Membership { return ms },
		Client:       p.s.client,
		MaxPeerBytes: refillPeerBytes,
		PeerTimeout:  refillPeerTimeout,
	}
	if p.s.blocks != nil {
		cfg.Blocks = p.s.blocks
	}
	// Its metrics are not registered: they would be taken for those of queries.
	cq, err := querier.New(cfg, p.s.logger.With("component", "refill"), nil).ChunkQuerier(q.MinTime, q.MaxTime-1)
	if err != nil {
		return refill.Reading{}, err
	}
	hints := &storage.SelectHints{Start: q.MinTime, End: q.MaxTime - 1, ShardIndex: uint64(q.Part), ShardCount: uint64(q.Parts)}
	every := labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".*")
	set := cq.Select(querier.WithPartialResponse(querier.WithTenant(ctx, q.Tenant), false), true, hints, every)
	return refill.Reading{Set: set, Lacking: d.lacking, Close: cq.Close}, nil
}
