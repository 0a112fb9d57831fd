// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// queriedBlocks are of two hours each, and in no cache.
	queriedBlocks = 6
	// oftenRate lets about one request in five fail for good: each is sent three or four times.
	oftenRate = 0.65
	// relistedWithin is more than the five seconds for which a list of the bucket counts as new.
	relistedWithin = 20 * time.Second
)

// errorOfBucket is what an answer that lacks something says: where it was to come from. What of it lacks is beside it.
var errorOfBucket = regexp.MustCompile(`(block [0-9A-HJKMNP-TV-Z]{26}|bucket)`)

// errorOfTime is a range of time as messages have it.
var errorOfTime = regexp.MustCompile(`from \d{4}-\d\d-\d\dT\S+ to \d{4}-\d\d-\d\dT`)

// TestQueriesOverBadS3: a node that has nothing itself reads blocks from a store that does everything wrong. Each answer is the
// right one, or says what it lacks; and once the store is well all are right, without a restart.
func TestQueriesOverBadS3(t *testing.T) {
	server := env.StartS3(t)
	for name, c := range map[string]struct {
		faults []harness.S3Fault
		fails  bool // When it happens to each request there is no answer.
	}{
		"slow":           {faults: []harness.S3Fault{harness.S3Slow}},
		"server errors":  {faults: []harness.S3Fault{harness.S3InternalError, harness.S3SlowDown}, fails: true},
		"lost answer":    {faults: []harness.S3Fault{harness.S3LostAnswer}, fails: true},
		"truncated body": {faults: []harness.S3Fault{harness.S3TruncatedBody}, fails: true},
		"everything":     {faults: harness.AllS3Faults()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Most of it is waiting before a request is sent again.
			b := newQueriedBucket(t, server)
			b.start()
			if c.fails {
				b.faulty.Misbehave(1, c.faults...)
				if right := b.askAll("always", 0, 1); right != 0 {
					t.Errorf("%d answers are there although no request is answered", right)
				}
			}
			b.faulty.Misbehave(oftenRate, c.faults...)
			right := b.askAll("often", 0, queriedBlocks)
			t.Logf("%d answers are complete; %d requests: %s", right, b.faulty.Requests(), b.faulty.Faults())
			for _, f := range c.faults {
				if b.faulty.Count(f) == 0 && name != "everything" { // Much of that does not happen to reads.
					t.Errorf("no request met %q, so that nothing is shown of it", f)
				}
			}
			b.faulty.Misbehave(0)
			b.allRight()
		})
	}
	t.Run("stale list", func(t *testing.T) {
		t.Parallel()
		b := newQueriedBucket(t, server)
		b.start()
		b.faulty.Misbehave(1, harness.S3StaleList)
		b.replaceBlocks()
		harness.Eventually(t, relistedWithin, "the bucket is listed anew", func() error {
			b.askAll("blocks are gone that the list has", 0, queriedBlocks)
			if b.faulty.Count(harness.S3StaleList) == 0 {
				return errors.New("no list was asked for")
			}
			return nil
		})
		b.faulty.Misbehave(0)
		harness.Eventually(t, relistedWithin, "the new blocks are read", func() error { return b.firstWrong() })
		b.allRight()
	})
	t.Run("down when the node starts", func(t *testing.T) {
		t.Parallel()
		b := newQueriedBucket(t, server)
		b.faulty.Misbehave(1, harness.S3InternalError)
		b.start()
		harness.Eventually(t, relistedWithin, "the first list is given up", func() error {
			n, err := b.node.Sum("penstock_blockstore_sync_failures_total")
			if err == nil && n == 0 {
				err = errors.New("it is still tried")
			}
			return err
		})
		if right := b.askAll("no list", 0, queriedBlocks); right != 0 {
			t.Errorf("%d answers are there although nothing is known of the bucket", right)
		}
		b.faulty.Misbehave(0)
		harness.Eventually(t, relistedWithin, "the bucket is listed", func() error { return b.firstWrong() })
		b.allRight()
	})
}

// queriedBucket is a bucket with some blocks, and a node that reads it through a proxy.
type queriedBucket struct {
	t      *testing.T
	truth  bucket.Bucket
	faulty *harness.FaultyS3
	prefix string
	ids    []string
	begin  time.Time
	want   map[string]string // Right answers by question.
	node   *harness.Node
}

func newQueriedBucket(t *testing.T, server *harness.S3) *queriedBucket {
	t.Helper()
	prefix := ulid.Make().String()
	b := &queriedBucket{t: t, prefix: prefix, truth: server.Open(t, prefix), faulty: env.StartFaultyS3(t, server, 1), want: map[string]string{}}
	dir := filepath.Join(harness.Dir(t), "tenant")
	b.ids = makeBlocks(t, dir, queriedBlocks)
	blocks := bucket.NewBlocks(b.truth, nil)
	for _, id := range b.ids {
		labels := map[string]string{"tenant_id": "default-tenant", "receive_replica": "a"}
		noError(t, blocks.PutBlock(t.Context(), filepath.Join(dir, id), labels, bucket.SourceReceive))
	}
	first, err := blocks.Meta(t.Context(), ulid.MustParse(b.ids[0]))
	noError(t, err)
	b.begin = time.UnixMilli(first.MinTime).Truncate(2 * time.Hour)
	b.learn(server)
	return b
}

// learn asks a node that reads the server itself everything.
func (b *queriedBucket) learn(server *harness.S3) {
	b.t.Helper()
	node := env.StartLoneNode(b.t, filepath.Join(harness.Dir(b.t), "data"), "--objstore.config="+server.ObjstoreConfig(b.prefix), "--no-compact.enabled")
	for from := range queriedBlocks {
		for until := from + 1; until <= queriedBlocks; until++ {
			for _, q := range b.questions(from, until) {
				resp, err := node.Call(q.path, q.params)
				noError(b.t, err)
				noError(b.t, resp.Complete())
				b.want[q.String()] = string(resp.Data)
			}
		}
	}
	whole := b.questions(0, queriedBlocks)[0]
	if n := strings.Count(b.want[whole.String()], `"series":"1"`); n != 1 {
		b.t.Fatalf("%s: series 1 is there %d times: %.300s", whole, n, b.want[whole.String()])
	}
	node.Process.Terminate()
}

// start starts the node on the proxy.
func (b *queriedBucket) start() {
	b.t.Helper()
	// Many questions come at once, and each may wait long for the bucket: that they also wait for each other is not what this is about.
	b.node = env.StartLoneNode(b.t, filepath.Join(harness.Dir(b.t), "data"), "--objstore.config="+b.faulty.ObjstoreConfig(b.prefix), "--no-compact.enabled", "--query.max-queue-wait=1m")
}

// apiQuestion is one call of the API.
type apiQuestion struct {
	path   string
	params url.Values
}

func (q apiQuestion) String() string { return q.path + "?" + q.params.Encode() }

// questions are about the time of the blocks [from, until).
func (b *queriedBucket) questions(from, until int) []apiQuestion {
	start := b.begin.Add(time.Duration(from)*2*time.Hour + time.Minute)
	end := b.begin.Add(time.Duration(until)*2*time.Hour - time.Minute)
	in := func(more ...string) url.Values {
		v := url.Values{"start": {fmt.Sprint(start.Unix())}, "end": {fmt.Sprint(end.Unix())}}
		for i := 0; i < len(more); i += 2 {
			v.Add(more[i], more[i+1])
		}
		return v
	}
	return []apiQuestion{
		{"/api/v1/query_range", in("query", `m{series=~"1.*"}`, "step", "7m")},
		{"/api/v1/query_range", in("query", `sum(rate(m[10m]))`, "step", "11m")},
		{"/api/v1/query_range", in("query", `sum(count_over_time(m[10m]))`, "step", "10m", "partial_response", "true")},
		{"/api/v1/series", in("match[]", `m{series=~".*7"}`)},
		{"/api/v1/label/series/values", in()},
		{"/api/v1/labels", in("match[]", "m")},
	}
}

// askAll judges the answers to all questions about the time of some blocks, each and together, which are asked at once, and
// returns how many are complete.
func (b *queriedBucket) askAll(what string, from, until int) (right int64) {
	b.t.Helper()
	all := b.questions(from, until)
	for i := from; i < until; i++ {
		all = append(all, b.questions(i, i+1)...)
	}
	var asking sync.WaitGroup
	var n atomic.Int64
	for _, q := range all {
		asking.Go(func() {
			if b.judge(what, q) {
				n.Add(1)
			}
		})
	}
	asking.Wait()
	return n.Load()
}

// judge says whether an answer is complete. One that is not must say what it lacks.
func (b *queriedBucket) judge(what string, q apiQuestion) bool {
	resp, err := b.node.Call(q.path, q.params)
	if err != nil {
		b.t.Errorf("%s: %s: %v", what, q, err)
		return false
	}
	if resp.Complete() == nil {
		if want := b.want[q.String()]; string(resp.Data) != want {
			b.t.Errorf("%s: %s: the answer is wrong and does not say so:\n%.500s\nwant\n%.500s", what, q, resp.Data, want)
		}
		return true
	}
	said := strings.Join(append(slices.Clone(resp.Warnings), resp.Error), " ")
	if !errorOfBucket.MatchString(said) || !errorOfTime.MatchString(said) {
		b.t.Errorf("%s: %s: status %d does not say what lacks: %q", what, q, resp.Code, said)
	}
	return false
}

// firstWrong says which answer is not right.
func (b *queriedBucket) firstWrong() error {
	for from := range queriedBlocks {
		for _, q := range b.questions(from, queriedBlocks) {
			resp, err := b.node.Call(q.path, q.params)
			if err == nil {
				err = resp.Complete()
			}
			if err == nil && string(resp.Data) != b.want[q.String()] {
				err = fmt.Errorf("the answer is %.500s, want %.500s", resp.Data, b.want[q.String()])
			}
			if err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
	}
	return nil
}

func (b *queriedBucket) allRight() {
	b.t.Helper()
	if err := b.firstWrong(); err != nil {
		b.t.Errorf("the store is well again: %v", err)
	}
}

// replaceBlocks compacts the blocks and deletes what was compacted.
func (b *queriedBucket) replaceBlocks() {
	b.t.Helper()
	var later atomic.Int64
	c := newCompactor(b.t, b.truth, "compactor", func() time.Time { return time.Now().Add(time.Duration(later.Load())) })
	for range 3 {
		noError(b.t, c.Once(b.t.Context()))
		later.Add(int64(100 * time.Hour))
	}
	listing, err := bucket.NewBlocks(b.truth, nil).Metas(b.t.Context())
	noError(b.t, err)
	if len(listing.Blocks) >= queriedBlocks {
		b.t.Fatalf("%d blocks were made of %d", len(listing.Blocks), queriedBlocks)
	}
}
