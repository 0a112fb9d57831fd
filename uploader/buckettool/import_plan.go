// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Candidate is a block that could be imported.
type Candidate struct {
	Meta  bucket.Meta
	Dir   string // On this machine; "" for one in another bucket.
	Bytes int64
}

// ScanDir finds the blocks in the data directory, or a snapshot, of a Prometheus. What has the name of a block and is none is
// returned as a problem; the write-ahead log and everything else is not looked at.
func ScanDir(dir string) (found []Candidate, problems []error, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("look for blocks: %w", err)
	}
	for _, e := range entries {
		id, err := ulid.ParseStrict(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		c := Candidate{Dir: filepath.Join(dir, e.Name())}
		content, err := os.ReadFile(filepath.Join(c.Dir, metaFile))
		if err == nil {
			c.Meta, err = bucket.ParseMeta(id, content)
		}
		if err == nil {
			c.Bytes, err = sizeOf(c.Dir)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("block %s: %w", e.Name(), err))
			continue
		}
		found = append(found, c)
	}
	return found, problems, nil
}

func sizeOf(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// ScanBucket finds the blocks in another bucket that are worth to be imported: those that are not marked for deletion, and
// not superfluous there.
func ScanBucket(l bucket.Listing) (found []Candidate, problems []error) {
	covered := bucket.Covered(l.Blocks)
	for _, b := range l.Blocks {
		if _, ok := covered[b.Meta.ULID]; !ok && b.Marks.Deletion == nil {
			found = append(found, Candidate{Meta: b.Meta, Bytes: b.Bytes})
		}
	}
	for _, p := range l.Problems {
		if errors.Is(p, bucket.ErrBadMeta) {
			problems = append(problems, p)
		}
	}
	return found, problems
}

// ImportRules say what imported blocks are called.
type ImportRules struct {
	Filter        Filter            // By the labels that the blocks will have.
	Labels        map[string]string // External labels, which replace those of the same name.
	Tenant        string            // Replaces the tenant; "" keeps what a block has.
	DefaultTenant string            // For blocks that have none.
}

// Action is what becomes of a candidate.
type Action string

// The actions.
const (
	ActionImport Action = "import"
	ActionSkip   Action = "skip"   // It is there.
	ActionRefuse Action = "refuse" // It cannot be imported.
)

// Step is one block of an import. Its JSON is stable.
type Step struct {
	ULID    ulid.ULID         `json:"ulid"`
	MinTime int64             `json:"min_time"`
	MaxTime int64             `json:"max_time"`
	Level   int               `json:"level"`
	Res     int64             `json:"resolution"`
	Bytes   int64             `json:"bytes"`
	Series  uint64            `json:"series"`
	Samples uint64            `json:"samples"`
	Labels  map[string]string `json:"labels"` // That it will have.
	Action  Action            `json:"action"`
	Reason  string            `json:"reason,omitempty"` // Why it is skipped or refused.
	Done    bool              `json:"done"`             // It was imported.

	candidate Candidate
}

// PlanImport says what becomes of each candidate that the filter means, the oldest first. It is a function of its arguments.
//
// Blocks keep their ULIDs, so that one that is in the bucket already is recognised by its name. One that was imported, compacted and
// deleted since is recognised by its sources, which are among those of what it was compacted into.
func PlanImport(candidates []Candidate, there bucket.Listing, rules ImportRules) []Step {
	known := newKnownBlocks(there)
	var steps []Step
	for _, c := range candidates {
		c.Meta.Thanos.Labels = importLabels(c.Meta, rules)
		m := c.Meta
		if !rules.Filter.Matches(m) {
			continue
		}
		s := Step{
			ULID: m.ULID, MinTime: m.MinTime, MaxTime: m.MaxTime, Level: m.Compaction.Level, Res: m.Thanos.Downsample.Resolution, Bytes: c.Bytes,
			Series: m.Stats.NumSeries, Samples: m.Stats.NumSamples, Labels: m.Thanos.Labels, Action: ActionImport, candidate: c,
		}
		s.Action, s.Reason = known.decide(m)
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Or(cmp.Compare(a.MinTime, b.MinTime), a.ULID.Compare(b.ULID)) })
	return steps
}

func importLabels(m bucket.Meta, rules ImportRules) map[string]string {
	labels := maps.Clone(m.Thanos.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, rules.Labels)
	if rules.Tenant != "" {
		labels[bucket.LabelTenant] = rules.Tenant
	}
	labels[bucket.LabelTenant] = cmp.Or(labels[bucket.LabelTenant], rules.DefaultTenant)
	return labels
}

// knownBlocks are those of the bucket, in forms in which they are looked up.
type knownBlocks struct {
	byID     map[ulid.ULID]bucket.Listed
	bySource map[ulid.ULID][]bucket.Listed
}

func newKnownBlocks(l bucket.Listing) knownBlocks {
	k := knownBlocks{map[ulid.ULID]bucket.Listed{}, map[ulid.ULID][]bucket.Listed{}}
	for _, b := range l.Blocks {
		k.byID[b.Meta.ULID] = b
		if b.Marks.Deletion != nil {
			continue
		}
		for _, source := range bucket.SourcesOf(b.Meta) {
			k.bySource[source] = append(k.bySource[source], b)
		}
	}
	return k
}

func (k knownBlocks) decide(m bucket.Meta) (Action, string) {
	sources := bucket.SourcesOf(m)
	for _, b := range k.bySource[sources[0]] {
		if b.Meta.ULID == m.ULID || b.Meta.Thanos.Downsample.Resolution != m.Thanos.Downsample.Resolution ||
			bucket.CopyGroup(b.Meta) != bucket.CopyGroup(m) || isBroken(b.Marks) {
			continue
		}
		theirs := bucket.SourcesOf(b.Meta)
		if !slices.ContainsFunc(sources, func(id ulid.ULID) bool { return !slices.Contains(theirs, id) }) {
			return ActionSkip, fmt.Sprintf("block %s has its samples", b.Meta.ULID)
		}
	}
	b, ok := k.byID[m.ULID]
	switch {
	case !ok:
		return ActionImport, ""
	case !maps.Equal(b.Meta.Thanos.Labels, m.Thanos.Labels):
		return ActionRefuse, "it is in the bucket with the labels " + labelText(b.Meta.Thanos.Labels)
	case b.Meta.MinTime != m.MinTime || b.Meta.MaxTime != m.MaxTime || b.Meta.Stats.NumSamples != m.Stats.NumSamples:
		return ActionRefuse, "another block of the same name is in the bucket"
	case b.Marks.Deletion != nil:
		return ActionSkip, "it is in the bucket, marked for deletion"
	default:
		return ActionSkip, "it is in the bucket"
	}
}

func labelText(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", name, labels[name]))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}
