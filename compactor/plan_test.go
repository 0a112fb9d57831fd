// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const hour = int64(time.Hour / time.Millisecond)

// blockNumber makes a ULID of the given time that is told by its number.
func blockNumber(at int64, n int) ulid.ULID {
	var id ulid.ULID
	_ = id.SetTime(uint64(at))
	id[14], id[15] = byte(n>>8), byte(n)
	return id
}

// uploaded is a block of level 1 from hour mint to hour maxt that member uploaded at the given hour.
func uploaded(n int, member string, mint, maxt, at int64) bucket.Listed {
	id := blockNumber(at*hour, n)
	return bucket.Listed{Bytes: 1000, Meta: bucket.Meta{
		BlockMeta: tsdb.BlockMeta{
			ULID: id, MinTime: mint * hour, MaxTime: maxt * hour, Version: 1,
			Compaction: tsdb.BlockMetaCompaction{Level: 1, Sources: []ulid.ULID{id}},
			Stats:      tsdb.BlockStats{NumSamples: 1},
		},
		Thanos: bucket.Thanos{
			Version: 1, Source: bucket.SourceReceive, UploadTime: time.UnixMilli(at * hour),
			Labels: map[string]string{bucket.LabelTenant: "t", bucket.LabelReceiveReplica: member},
			Files:  []bucket.File{{RelPath: "index", SizeBytes: 100}},
		},
	}}
}

// made is what a task makes.
func made(n int, at int64, t Task) bucket.Listed {
	metas := make([]*tsdb.BlockMeta, len(t.Inputs))
	out := bucket.Listed{}
	for i, in := range t.Inputs {
		metas[i] = &in.Meta.BlockMeta
		out.Bytes += in.Bytes
	}
	out.Meta.BlockMeta = *tsdb.CompactBlockMetas(blockNumber(at, n), metas...)
	out.Meta.Thanos = bucket.Thanos{
		Version: 1, Source: sourceCompactor, UploadTime: time.UnixMilli(at), Labels: t.Group.Labels,
		Downsample: bucket.Downsample{Resolution: t.Group.Resolution}, Files: []bucket.File{{RelPath: "index", SizeBytes: 100}},
	}
	return out
}

func rulesAt(now int64) Rules {
	return Rules{
		Now: now * hour, Ranges: []int64{2 * hour, 8 * hour, 48 * hour, 336 * hour}, Consistency: hour / 2,
		MaxIndexBytes: DefaultMaxIndexBytes, MaxInputs: DefaultMaxInputs,
	}
}

func all(Group) bool { return true }

func idsOf(blocks []bucket.Listed) []ulid.ULID {
	var ids []ulid.ULID
	for _, b := range blocks {
		ids = append(ids, b.Meta.ULID)
	}
	return ids
}

func TestCopiesAreMergedWhenAllCanBeThere(t *testing.T) {
	blocks := []bucket.Listed{uploaded(3, "c", 0, 2, 3), uploaded(1, "a", 0, 2, 3), uploaded(2, "b", 0, 2, 3)}
	require.Empty(t, NewPlan(blocks, rulesAt(3), all).Tasks, "uploads are younger than the consistency delay")
	p := NewPlan(blocks, rulesAt(4), all)
	require.Len(t, p.Tasks, 1)
	require.Equal(t, []ulid.ULID{blocks[1].Meta.ULID, blocks[2].Meta.ULID, blocks[0].Meta.ULID}, idsOf(p.Tasks[0].Inputs))
	require.Equal(t, 0, p.Tasks[0].Level)
	require.Equal(t, map[string]string{"tenant_id": "t"}, p.Tasks[0].Group.Labels)

	// A range that is not over, as a drain leaves it, gets more.
	require.Empty(t, NewPlan(blocks[1:], Rules{Now: 2*hour + hour/2, Ranges: rulesAt(0).Ranges, Consistency: -2 * hour}, all).Tasks)
	require.Empty(t, NewPlan(blocks, rulesAt(4), func(Group) bool { return false }).Tasks)
	require.Empty(t, NewPlan(blocks[:1], rulesAt(4), all).Tasks, "one block is what is wanted")
}

func TestLevels(t *testing.T) {
	var blocks []bucket.Listed
	for i := range int64(4) {
		blocks = append(blocks, uploaded(int(i), "a", 2*i, 2*i+2, 2*i+3))
	}
	require.Empty(t, NewPlan(blocks[:3], rulesAt(9), all).Tasks, "8h are not over")
	p := NewPlan(blocks, rulesAt(10), all)
	require.Len(t, p.Tasks, 1)
	require.Equal(t, 1, p.Tasks[0].Level)
	require.Len(t, p.Tasks[0].Inputs, 4)

	// Copies in one of the ranges come first, and the longer window waits for them, also while they are young.
	second := uploaded(9, "b", 2, 4, 9)
	p = NewPlan(append(blocks, second), rulesAt(10), all)
	require.Len(t, p.Tasks, 1)
	require.Equal(t, 0, p.Tasks[0].Level)
	second.Meta.Thanos.UploadTime = time.UnixMilli(10 * hour)
	require.Empty(t, NewPlan(append(blocks, second), rulesAt(10), all).Tasks)
}

func TestLateCopyIsMergedWithWhatIsThere(t *testing.T) {
	var blocks []bucket.Listed
	for i := range int64(4) {
		blocks = append(blocks, uploaded(int(i), "a", 2*i, 2*i+2, 2*i+3))
	}
	long := made(20, 10*hour, NewPlan(blocks, rulesAt(10), all).Tasks[0])
	late := uploaded(9, "b", 2, 4, 20)
	p := NewPlan(append(blocks, long, late), rulesAt(21), all)
	require.Len(t, p.Covered, 4)
	for _, r := range p.Covered {
		require.Equal(t, long.Meta.ULID, r.By.Meta.ULID)
	}
	require.Len(t, p.Tasks, 1)
	require.Equal(t, []ulid.ULID{long.Meta.ULID, late.Meta.ULID}, idsOf(p.Tasks[0].Inputs))
}

func TestMarksAreHonoured(t *testing.T) {
	a, b, c := uploaded(1, "a", 0, 2, 3), uploaded(2, "b", 0, 2, 3), uploaded(3, "c", 0, 2, 3)
	a.Marks.NoCompact = &bucket.NoCompactMark{Reason: "manual"}
	require.Equal(t, []ulid.ULID{b.Meta.ULID, c.Meta.ULID}, idsOf(NewPlan([]bucket.Listed{a, b, c}, rulesAt(9), all).Tasks[0].Inputs))
	b.Marks.Deletion = &bucket.DeletionMark{}
	require.Empty(t, NewPlan([]bucket.Listed{a, b, c}, rulesAt(9), all))
}

func TestForeignGroups(t *testing.T) {
	foreign := func(n int, replica string) bucket.Listed {
		b := uploaded(n, replica, 0, 2, 3)
		b.Meta.Thanos.Labels["cluster"] = "eu"
		return b
	}
	blocks := []bucket.Listed{foreign(1, "a"), foreign(2, "a"), foreign(3, "b"), foreign(4, "b")}
	delete(blocks[2].Meta.Thanos.Labels, bucket.LabelTenant)
	delete(blocks[3].Meta.Thanos.Labels, bucket.LabelTenant)
	require.Empty(t, NewPlan(blocks, rulesAt(9), all))
	rules := rulesAt(9)
	rules.Foreign = true
	p := NewPlan(blocks, rules, all)
	require.Len(t, p.Tasks, 2, "not merged across a label")
	require.Equal(t, map[string]string{"cluster": "eu", "receive_replica": "a", "tenant_id": "t"}, p.Tasks[0].Group.Labels)
	require.Equal(t, map[string]string{"cluster": "eu", "receive_replica": "b"}, p.Tasks[1].Group.Labels)

	other := uploaded(7, "a", 0, 2, 3)
	other.Meta.Thanos.Labels[bucket.LabelTenant] = "other"
	require.Empty(t, NewPlan([]bucket.Listed{uploaded(6, "a", 0, 2, 3), other}, rulesAt(9), all).Tasks, "tenants are kept apart")
}

func TestBounds(t *testing.T) {
	blocks := []bucket.Listed{uploaded(1, "a", 0, 2, 3), uploaded(2, "b", 0, 2, 3), uploaded(3, "c", 0, 2, 3)}
	blocks[1].Meta.Thanos.Files[0].SizeBytes = 101
	rules := rulesAt(9)
	rules.MaxIndexBytes = 300
	p := NewPlan(blocks, rules, all)
	require.Empty(t, p.Tasks)
	require.Len(t, p.Quarantine, 1)
	require.Equal(t, blocks[1].Meta.ULID, p.Quarantine[0].Block.Meta.ULID)
	require.Equal(t, "index-size-exceeding", p.Quarantine[0].Reason)
	blocks[1].Marks.NoCompact = &bucket.NoCompactMark{}
	require.Len(t, NewPlan(blocks, rules, all).Tasks, 1)
	blocks[1].Marks.NoCompact = nil

	rules = rulesAt(9)
	rules.MaxInputs = 2
	require.Len(t, NewPlan(blocks, rules, all).Tasks[0].Inputs, 2)
	rules.MaxTaskBytes = 1999
	p = NewPlan(blocks, rules, all)
	require.Empty(t, p.Tasks)
	require.Positive(t, p.Oversized)
}

func TestAggregatesAreMergedOnlySideBySide(t *testing.T) {
	aggregates := func(n int, mint, maxt int64) bucket.Listed {
		b := uploaded(n, "", mint, maxt, maxt+3)
		delete(b.Meta.Thanos.Labels, bucket.LabelReceiveReplica)
		b.Meta.Thanos.Downsample.Resolution = downsample.FiveMinutes
		return b
	}
	blocks := []bucket.Listed{aggregates(1, 0, 48), aggregates(2, 48, 96), uploaded(3, "a", 0, 2, 3)}
	p := NewPlan(blocks, rulesAt(400), all)
	require.Len(t, p.Tasks, 1)
	require.Equal(t, downsample.FiveMinutes, p.Tasks[0].Group.Resolution)
	require.Empty(t, NewPlan(append(blocks, aggregates(4, 0, 96)), rulesAt(400), all).Tasks)
}

func TestUnalignedBlocks(t *testing.T) {
	blocks := []bucket.Listed{uploaded(1, "a", 300, 340, 341), uploaded(2, "b", 320, 350, 351), uploaded(3, "a", 0, 2, 3)}
	p := NewPlan(blocks, rulesAt(400), all)
	require.Len(t, p.Tasks, 1)
	require.Equal(t, idsOf(blocks[:2]), idsOf(p.Tasks[0].Inputs))
	blocks[0].Meta.MinTime = -100 * hour
	require.Empty(t, NewPlan(blocks, rulesAt(400), all).Tasks, "it would be longer than the longest window")
	require.Equal(t, int64(-8), alignDown(-1, 8))
	require.Equal(t, int64(-8), alignDown(-8, 8))
}

func TestPlanningConverges(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		blocks := randomBlocks(r)
		sources := map[ulid.ULID]bool{}
		for _, b := range blocks {
			sources[b.Meta.ULID] = true
		}
		for round := 0; ; round++ {
			require.Less(t, round, 300, "seed %d", seed)
			p := NewPlan(blocks, rulesAt(10_000), all)
			r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
			require.True(t, reflect.DeepEqual(p, NewPlan(blocks, rulesAt(10_000), all)), "seed %d: the order matters", seed)
			if len(p.Tasks)+len(p.Covered) == 0 {
				break
			}
			used := map[ulid.ULID]bool{}
			for i, task := range p.Tasks {
				for _, in := range task.Inputs {
					if used[in.Meta.ULID] {
						t.Fatalf("seed %d: block %s is in two tasks", seed, in.Meta.ULID)
					}
					used[in.Meta.ULID] = true
				}
				blocks = append(blocks, made(1000*round+i, 10_000*hour, task))
			}
			for _, c := range p.Covered {
				used[c.Block.Meta.ULID] = true
			}
			for i := range blocks {
				if used[blocks[i].Meta.ULID] {
					blocks[i].Marks.Deletion = &bucket.DeletionMark{ID: blocks[i].Meta.ULID}
				}
			}
		}
		requireEachOnce(t, seed, blocks, sources)
	}
}

// TestMembersShareAGroup: what several members plan, each for the parts that are its own, is together what one would plan, and
// no two have a block in common.
func TestMembersShareAGroup(t *testing.T) {
	const members = 3
	shared := 0
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 2))
		var blocks []bucket.Listed
		for range 4 {
			more := randomBlocks(r)
			for i := range more {
				more[i].Meta.ULID = blockNumber(int64(more[i].Meta.ULID.Time()), len(blocks)+i)
				more[i].Meta.Compaction.Sources = []ulid.ULID{more[i].Meta.ULID}
			}
			blocks = append(blocks, more...)
		}
		// Longer than the longest window, and on the border of two: those have no window.
		blocks = append(blocks, uploaded(9000, "a", 300, 340, 700), uploaded(9001, "b", 310, 720, 700))
		whole := map[ulid.ULID]string{}
		for _, task := range NewPlan(blocks, rulesAt(10_000), all).Tasks {
			for _, in := range task.Inputs {
				whole[in.Meta.ULID] = task.Group.Key
			}
		}
		parts := map[ulid.ULID]string{}
		busy := 0
		for m := range uint32(members) {
			tasks := NewPlan(blocks, rulesAt(10_000), func(g Group) bool {
				return crc32.ChecksumIEEE([]byte(g.Key))%members == m
			}).Tasks
			busy += min(1, len(tasks))
			for _, task := range tasks {
				for _, in := range task.Inputs {
					require.NotContains(t, parts, in.Meta.ULID, "seed %d", seed)
					parts[in.Meta.ULID] = task.Group.Key
				}
			}
		}
		require.Equal(t, whole, parts, "seed %d", seed)
		if busy > 1 {
			shared++
		}
	}
	require.Positive(t, shared)
}

// randomBlocks are copies of some ranges by some members, with some missing, some out-of-order blocks beside them, and some
// that a drain cut short.
func randomBlocks(r *rand.Rand) []bucket.Listed {
	var blocks []bucket.Listed
	first, ranges, members := r.Int64N(2*168), 1+r.Int64N(60), 1+r.IntN(4)
	for i := first; i < first+ranges; i++ {
		for m := range members {
			for range 1 + r.IntN(6)/5 {
				mint, maxt := 2*i, 2*i+2
				if r.IntN(10) == 0 {
					maxt--
				}
				if r.IntN(8) > 0 {
					blocks = append(blocks, uploaded(len(blocks), string(rune('a'+m)), mint, maxt, maxt+1+r.Int64N(50)))
				}
			}
		}
	}
	return blocks
}

// requireEachOnce makes sure that what is neither marked nor covered holds every source, and nothing twice.
func requireEachOnce(t *testing.T, seed uint64, blocks []bucket.Listed, sources map[ulid.ULID]bool) {
	t.Helper()
	covered := bucket.Covered(blocks)
	held := map[ulid.ULID]bool{}
	var live []bucket.Listed
	for _, b := range blocks {
		if _, ok := covered[b.Meta.ULID]; ok || b.Marks.Deletion != nil {
			continue
		}
		live = append(live, b)
		for _, s := range b.Meta.Compaction.Sources {
			if held[s] {
				t.Fatalf("seed %d: source %s is in two blocks", seed, s)
			}
			held[s] = true
		}
	}
	require.Equal(t, sources, held, "seed %d", seed)
	for _, g := range groupBlocks(live) {
		require.False(t, overlapping(g.blocks), "seed %d: copies are left", seed)
	}
}
