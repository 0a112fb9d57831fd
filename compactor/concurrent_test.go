// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// world is a bucket of values, and members that plan on listings of different age.
type world struct {
	t       *testing.T
	r       *rand.Rand
	now     int64 // ms
	number  int
	blocks  map[ulid.ULID]*bucket.Listed
	sources map[ulid.ULID]bool
	refused int
}

// worker is a compactor at work: what it saw, and what it has still to do.
type worker struct {
	steps []func()
}

func (w *world) listing() []bucket.Listed {
	var l []bucket.Listed
	for _, b := range w.blocks {
		l = append(l, *b)
	}
	slices.SortFunc(l, func(a, b bucket.Listed) int { return a.Meta.ULID.Compare(b.Meta.ULID) })
	return l
}

func (w *world) mark(id, by ulid.ULID) {
	if b := w.blocks[id]; b != nil && b.Marks.Deletion == nil {
		b.Marks.Deletion = bucket.NewSupersededMark(id, time.UnixMilli(w.now), by)
	}
}

// look plans on a listing of this moment. What follows from it is done later, one step at a time.
func (w *world) look(c *worker) {
	rules := rulesAt(0)
	rules.Now = w.now
	l := w.listing()
	p := NewPlan(l, rules, all)
	for _, r := range p.Covered {
		c.steps = append(c.steps, func() { w.mark(r.Block.Meta.ULID, r.By.Meta.ULID) })
	}
	for _, task := range p.Tasks {
		lost := false
		var out ulid.ULID
		c.steps = append(c.steps, func() {
			for _, in := range task.Inputs {
				lost = lost || w.blocks[in.Meta.ULID] == nil // The download fails.
			}
			if !lost {
				w.number++
				b := made(w.number, w.now, task)
				out = b.Meta.ULID
				w.blocks[out] = &b
			}
		})
		for _, in := range task.Inputs {
			c.steps = append(c.steps, func() {
				if !lost {
					w.mark(in.Meta.ULID, out)
				}
			})
		}
	}
}

// delete is what any member does with a fresh listing.
func (w *world) delete() {
	l := w.listing()
	covered := bucket.Covered(l)
	for _, b := range l {
		if b.Marks.Deletion == nil || w.now-b.Marks.Deletion.DeletionTime*1000 < 48*hour {
			continue
		}
		if _, ok := covered[b.Meta.ULID]; !ok && b.Marks.Deletion.Superseded() {
			w.refused++
			w.blocks[b.Meta.ULID].Marks.Deletion = nil
			continue
		}
		delete(w.blocks, b.Meta.ULID)
	}
}

// arrive uploads a copy of some range, now or late, or once more what was there before.
func (w *world) arrive() {
	start := 2 * w.r.Int64N(w.now/hour/2)
	w.number++
	b := uploaded(w.number, string(rune('a'+w.r.IntN(3))), start, start+2, w.now/hour)
	w.blocks[b.Meta.ULID] = &b
	w.sources[b.Meta.ULID] = true
}

// TestSeveralAtWorkAtOnceDoNoHarm lets three compactors work on old listings, stop in the middle of anything and begin again,
// while blocks come in and marked ones are deleted. No source is ever in no block, and when the dust has settled each is
// in one.
func TestSeveralAtWorkAtOnceDoNoHarm(t *testing.T) {
	for seed := range uint64(40) {
		w := &world{
			t: t, r: rand.New(rand.NewPCG(seed, 2)), now: 60 * hour,
			blocks: map[ulid.ULID]*bucket.Listed{}, sources: map[ulid.ULID]bool{},
		}
		for range 30 {
			w.arrive()
		}
		workers := []*worker{{}, {}, {}}
		for range 500 {
			c := workers[w.r.IntN(3)]
			switch n := w.r.IntN(40); {
			case n == 0:
				w.arrive()
			case n == 1:
				w.now += w.r.Int64N(20 * hour)
			case n == 2:
				w.delete()
			case n == 3:
				c.steps = nil // It crashed.
			case len(c.steps) == 0:
				w.look(c)
			default:
				c.steps[0]()
				c.steps = c.steps[1:]
			}
			w.requireNothingLost(seed)
		}
		w.settle(workers)
		w.requireNothingLost(seed)
		requireEachOnce(t, seed, w.listing(), w.sources)
		require.Zero(t, w.refused, "seed %d: marks follow an order, so that what is deleted is always covered", seed)
	}
}

func (w *world) requireNothingLost(seed uint64) {
	held := map[ulid.ULID]bool{}
	for _, b := range w.blocks {
		if b.Marks.Deletion == nil {
			for _, s := range b.Meta.Compaction.Sources {
				held[s] = true
			}
		}
	}
	for s := range w.sources {
		if !held[s] {
			w.t.Fatalf("seed %d: source %s is in no block that stays", seed, s)
		}
	}
}

// settle lets everything come to its end.
func (w *world) settle(workers []*worker) {
	for _, c := range workers {
		for _, step := range c.steps {
			step()
		}
		c.steps = nil
	}
	w.now += 1000 * hour
	for range 200 {
		w.look(workers[0])
		if len(workers[0].steps) == 0 {
			return
		}
		for _, step := range workers[0].steps {
			step()
		}
		workers[0].steps = nil
		w.now += 100 * hour
		w.delete()
	}
	w.t.Fatal("planning does not come to an end")
}
