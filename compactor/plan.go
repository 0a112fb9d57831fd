// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Rules are what planning depends on beside the blocks. Times are ms.
type Rules struct {
	Now int64
	// Ranges are the lengths of the windows, each a multiple of the one before. Windows are aligned to them, so that every
	// member comes to the same.
	Ranges []int64
	// Consistency is how long ago the newest upload in a window must be: members upload at different times.
	Consistency int64
	// Foreign: groups with foreign labels are compacted as well.
	Foreign bool
	// MaxIndexBytes bounds the sum of the inputs' indexes. The index that TSDB can write has a bound.
	MaxIndexBytes int64
	// MaxTaskBytes bounds the sum of the inputs, which must fit on the local disk. 0: no bound.
	MaxTaskBytes int64
	// MaxInputs bounds the blocks that are open at once.
	MaxInputs int
}

// Task is a merge of several blocks into one.
type Task struct {
	Group  Group
	Level  int             // Index into Rules.Ranges; len(Ranges) for blocks that fit no window.
	Inputs []bucket.Listed // At least two, in order of time.
}

// Quarantine is a block that is to be marked as not to be compacted.
type Quarantine struct {
	Block   bucket.Listed
	Reason  string
	Details string
}

// Plan is what there is to do now. Tasks have no blocks in common, so that they may be done in any order or at once.
type Plan struct {
	Tasks      []Task
	Covered    []Redundant
	Quarantine []Quarantine
	// Oversized counts the windows that stay as they are because the local disk is too small for them.
	Oversized int
}

// Redundant is a block without a mark that another block covers.
type Redundant struct {
	Block bucket.Listed
	By    bucket.Listed
}

const (
	// reasonIndexSize is Thanos' reason for a block that would make an index too large.
	reasonIndexSize = "index-size-exceeding"
	// sourceCompactor is what compactors write into the meta.json of their blocks, Thanos' and ours.
	sourceCompactor = "compactor"
)

// NewPlan plans the next step of all parts of groups for which owns is true. It is a function of its arguments, and the order
// of the blocks does not matter.
func NewPlan(blocks []bucket.Listed, rules Rules, owns func(Group) bool) Plan {
	covered := bucket.Covered(blocks)
	byID := make(map[ulid.ULID]bucket.Listed, len(blocks))
	for _, b := range blocks {
		byID[b.Meta.ULID] = b
	}
	var p Plan
	for _, g := range rules.parts(blocks) {
		if (g.Foreign && !rules.Foreign) || !owns(g.Group) {
			continue
		}
		var usable []bucket.Listed
		for _, b := range g.blocks {
			by, isCovered := covered[b.Meta.ULID]
			switch {
			case b.Marks.Deletion != nil:
			case isCovered:
				p.Covered = append(p.Covered, Redundant{Block: b, By: byID[by]})
			case b.Marks.NoCompact == nil:
				usable = append(usable, b)
			}
		}
		g.blocks = usable
		w := windows{rules: rules, group: g, plan: &p}
		w.levels()
		w.loose()
	}
	return p
}

// parts returns all parts of all groups.
func (r Rules) parts(blocks []bucket.Listed) (all []grouped) {
	for _, g := range groupBlocks(blocks) {
		all = append(all, g.parts(r.longest())...)
	}
	return all
}

func (r Rules) longest() int64 { return r.Ranges[len(r.Ranges)-1] }

// windows plans one part of a group.
type windows struct {
	rules Rules
	group grouped
	plan  *Plan
	// busy are stretches of time in which something is to be done first, or is waited for: what is longer waits as well.
	busy []span
}

// span is a stretch of time, ms, half-open.
type span struct{ mint, maxt int64 }

func (s span) overlaps(o span) bool { return s.mint < o.maxt && o.mint < s.maxt }

func spanOf(b bucket.Listed) span { return span{b.Meta.MinTime, b.Meta.MaxTime} }

// levels looks at the windows of each length, the shortest first. A window is merged when it is over, when all that it
// can get has come, and when there is nothing left to do for shorter ones inside of it.
func (w *windows) levels() {
	for level, length := range w.rules.Ranges {
		for _, in := range w.split(length) {
			start := alignDown(in[0].Meta.MinTime, length)
			window := span{start, start + length}
			if len(in) < 2 || w.isBusy(window) {
				continue
			}
			if !w.ready(level, window, in) {
				w.busy = append(w.busy, window)
				continue
			}
			if w.add(level, in) {
				w.busy = append(w.busy, window)
			}
		}
	}
}

// split returns the blocks of the group by the window of the given length that they lie in, in order of time. Blocks
// that lie in none are left out.
func (w *windows) split(length int64) [][]bucket.Listed {
	var all [][]bucket.Listed
	last := int64(0)
	for _, b := range w.group.blocks {
		start, ok := windowOf(b.Meta, length)
		if !ok {
			continue
		}
		if len(all) == 0 || start != last {
			all = append(all, nil)
			last = start
		}
		all[len(all)-1] = append(all[len(all)-1], b)
	}
	return all
}

// windowOf returns the start of the window that a block lies in.
func windowOf(b bucket.Meta, length int64) (start int64, ok bool) {
	start = alignDown(b.MinTime, length)
	return start, b.MaxTime <= start+length
}

func alignDown(t, length int64) int64 {
	rest := t % length
	if rest < 0 {
		rest += length
	}
	return t - rest
}

// loose merges blocks that overlap each other and fit no window, such as imported ones. Together they must not be longer
// than the longest window.
func (w *windows) loose() {
	longest := w.rules.longest()
	var run []bucket.Listed
	var whole span
	flush := func() {
		if len(run) > 1 && whole.maxt-whole.mint <= longest && w.ready(len(w.rules.Ranges), whole, run) {
			w.add(len(w.rules.Ranges), run)
		}
		run = nil
	}
	for _, b := range w.group.blocks {
		if _, fits := windowOf(b.Meta, longest); fits {
			continue
		}
		if len(run) > 0 && b.Meta.MinTime < whole.maxt {
			whole.maxt = max(whole.maxt, b.Meta.MaxTime)
		} else {
			flush()
			whole = spanOf(b)
		}
		run = append(run, b)
	}
	flush()
}

// ready says whether everything has come that a window can be expected to get. A head is cut half a range after its
// window is over; a longer window waits until its last part was merged.
func (w *windows) ready(level int, window span, in []bucket.Listed) bool {
	base := w.rules.Ranges[0]
	grace := base
	if level == 0 {
		grace = base / 2
	}
	if w.rules.Now < window.maxt+grace {
		return false
	}
	return !slices.ContainsFunc(in, func(b bucket.Listed) bool {
		return b.Meta.Thanos.Source != sourceCompactor && w.rules.Now < uploadedAt(b.Meta)+w.rules.Consistency
	})
}

// uploadedAt is when a block was uploaded, or made, which is what old writers tell.
func uploadedAt(m bucket.Meta) int64 {
	if t := m.Thanos.UploadTime; !t.IsZero() {
		return t.UnixMilli()
	}
	return int64(m.ULID.Time())
}

func (w *windows) isBusy(window span) bool { return slices.ContainsFunc(w.busy, window.overlaps) }

// add plans to merge the blocks, or as many of them as may be open at once. It is false when nothing is done.
func (w *windows) add(level int, in []bucket.Listed) bool {
	if w.group.Resolution > 0 && overlapping(in) {
		// Aggregates of overlapping blocks cannot be merged; new ones are made of the merged raw blocks, which cover them.
		return false
	}
	if w.rules.MaxInputs > 1 && len(in) > w.rules.MaxInputs {
		in = in[:w.rules.MaxInputs]
	}
	var bytes, index int64
	largest := in[0]
	for _, b := range in {
		bytes += b.Bytes
		index += indexBytes(b.Meta)
		if indexBytes(b.Meta) > indexBytes(largest.Meta) {
			largest = b
		}
	}
	if w.rules.MaxIndexBytes > 0 && index > w.rules.MaxIndexBytes {
		w.plan.Quarantine = append(w.plan.Quarantine, Quarantine{
			Block: largest, Reason: reasonIndexSize,
			Details: fmt.Sprintf("the indexes of %d blocks have %d bytes, more than %d; this one has %d of them",
				len(in), index, w.rules.MaxIndexBytes, indexBytes(largest.Meta)),
		})
		return true
	}
	if w.rules.MaxTaskBytes > 0 && bytes > w.rules.MaxTaskBytes {
		w.plan.Oversized++
		return false
	}
	w.plan.Tasks = append(w.plan.Tasks, Task{Group: w.group.Group, Level: level, Inputs: slices.Clone(in)})
	return true
}

// overlapping says whether two of the blocks, which are in order of time, have time in common.
func overlapping(in []bucket.Listed) bool {
	end := in[0].Meta.MaxTime
	for _, b := range in[1:] {
		if b.Meta.MinTime < end {
			return true
		}
		end = max(end, b.Meta.MaxTime)
	}
	return false
}
