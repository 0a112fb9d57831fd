// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/util/stats"
)

// What things take in memory, as estimates: an account must tell the heavy from the light.
const (
	// seriesMemory is what storage, dedup and the engine keep of a series beside its labels and points.
	seriesMemory = 512
	pointMemory  = 16
	// peerFactor is how much more a peer's answer takes in memory than on the wire: labels are decoded, chunks are copied.
	peerFactor = 2
	// localSampleBytes is taken for a sample of a chunk where chunks are not seen: a TSDB that answers alone gives samples.
	localSampleBytes = 2
)

// who asks, as far as the request tells.
type who struct {
	Tenant    string `json:"tenant"`
	Remote    string `json:"remoteAddr"`
	Forwarded string `json:"forwardedFor,omitempty"`
	Agent     string `json:"userAgent,omitempty"`
	Dashboard string `json:"dashboardUid,omitempty"`
	Panel     string `json:"panelId,omitempty"`
}

func whoAsks(r *http.Request, tenant string) who {
	const most = 128 // Bytes of a header that are kept.
	header := func(name string) string { return cut(r.Header.Get(name), most) }
	return who{
		Tenant: tenant, Remote: r.RemoteAddr, Forwarded: header("X-Forwarded-For"), Agent: header("User-Agent"),
		Dashboard: header("X-Dashboard-Uid"), Panel: header("X-Panel-Id"),
	}
}

// Account is what one query takes, with all that is done for it. All methods may be called at the same time, and on nil,
// which is the account of nobody and has no limits.
type Account struct {
	books    *Books
	id       uint64
	who      who
	endpoint string
	query    string // Cut.
	asked    asked
	limits   Limits
	labels   labelSize
	started  time.Time

	series, samples, memory           atomic.Int64
	localBytes, peerBytes             atomic.Int64
	bucketBytes, bucketRequests       atomic.Int64
	alone                             atomic.Bool // The local TSDB answers alone, in samples.
	partial                           atomic.Bool
	engineSamples, engineRead, inPeak atomic.Int64 // As the engine counts: looked at, read, held at a time.

	ended   atomic.Pointer[error]
	endedAt atomic.Int64 // Unix nanoseconds.

	trying     atomic.Pointer[attempt] // Nil while there is nothing that can be begun again.
	toldAt     atomic.Int64            // To make room, in Unix nanoseconds; 0 when it has done so.
	waitsSince atomic.Int64            // For memory, in Unix nanoseconds; 0: it does not wait.
	waited     atomic.Int64            // Nanoseconds, before.
	restarts   atomic.Int64
	answering  atomic.Bool // There is room for the text of its answer, which is made and sent.

	mu      sync.Mutex
	cancels map[uint64]context.CancelCauseFunc // Guarded by mu, as the next.
	next    uint64
}

type accountKey struct{}

// From returns the account that pays for ctx; nil if nobody does.
func From(ctx context.Context) *Account {
	a, _ := ctx.Value(accountKey{}).(*Account)
	return a
}

// attach returns a context that ends with the account, even where it does not come from the request.
func (a *Account) attach(ctx context.Context) (context.Context, func()) {
	if a == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	if a.cancels == nil {
		a.cancels = map[uint64]context.CancelCauseFunc{}
	}
	key := a.next
	a.next++
	a.cancels[key] = cancel
	a.mu.Unlock()
	if err := a.reason(); err != nil {
		cancel(err)
	}
	return ctx, func() {
		a.mu.Lock()
		delete(a.cancels, key)
		a.mu.Unlock()
		cancel(nil)
	}
}

// end ends the query for the given reason, unless it has ended for another. It returns the reason.
func (a *Account) end(reason error) error {
	if !a.ended.CompareAndSwap(nil, &reason) {
		return *a.ended.Load()
	}
	a.endedAt.Store(a.books.cfg.Now().UnixNano())
	a.books.metrics.refused(nameOf(reason))
	time.AfterFunc(graceAfter, func() { a.books.line.leave(a) }) // It may be held up by a client that does not read.
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, cancel := range a.cancels {
		cancel(reason)
	}
	return reason
}

// reason is why the query was ended, or nil.
func (a *Account) reason() error {
	if a == nil {
		return nil
	}
	if p := a.ended.Load(); p != nil {
		return *p
	}
	return nil
}

// explain returns why the query was ended, if it was, instead of what that looked like from where err comes from.
func (a *Account) explain(err error) error {
	if err == nil {
		return nil
	}
	if reason := a.reason(); reason != nil {
		return reason
	}
	return err
}

// grow adds to what the query holds.
func (a *Account) grow(bytes int64) {
	if a == nil {
		return
	}
	held := a.memory.Add(bytes)
	a.books.held.Add(bytes)
	if over(held, a.limits.MaxMemory) && a.reason() == nil {
		_ = a.end(tooMuchMemory(held, a.limits.MaxMemory))
	}
}

// touch counts series, and what they and their points take. An error ends the query.
func (a *Account) touch(series, memory int64) error {
	if n := a.series.Add(series); over(n, a.limits.MaxSeries) {
		return a.end(tooManySeries(a.limits.MaxSeries))
	}
	a.grow(memory)
	return a.reason()
}

// decoded counts samples that were handed to the engine. Where they come out of chunks that nobody has counted, they count as bytes.
func (a *Account) decoded(n int64) error {
	a.samples.Add(n)
	if a.alone.Load() {
		return a.read(&a.localBytes, n*localSampleBytes)
	}
	return a.reason()
}

// read counts bytes of chunks.
func (a *Account) read(from *atomic.Int64, bytes int64) error {
	from.Add(bytes)
	if sum := a.bytes(); over(sum, a.limits.MaxBytes) {
		return a.end(tooManyBytes(sum, a.limits.MaxBytes))
	}
	return a.reason()
}

func (a *Account) bytes() int64 {
	return a.localBytes.Load() + a.peerBytes.Load() + a.bucketBytes.Load()
}

// Received counts bytes of a peer's answer. An error ends the query.
func (a *Account) Received(bytes int64) error {
	if a == nil {
		return nil
	}
	a.grow(peerFactor * bytes)
	return a.read(&a.peerBytes, bytes)
}

// Spent counts bytes of blocks in the bucket, whether they are fetched or kept here, and requests to it. An error ends the query.
func (a *Account) Spent(bytes, requests int64) error {
	if a == nil {
		return nil
	}
	a.bucketRequests.Add(requests)
	a.grow(bytes)
	return a.read(&a.bucketBytes, bytes)
}

// note takes up what the engine has counted.
func (a *Account) note(s *stats.Statistics) {
	if a == nil || s == nil || s.Samples == nil {
		return
	}
	a.engineSamples.Add(s.Samples.TotalSamples)
	a.engineRead.Add(s.Samples.SamplesRead)
	for peak := int64(s.Samples.PeakSamples); ; {
		old := a.inPeak.Load()
		if old >= peak || a.inPeak.CompareAndSwap(old, peak) {
			return
		}
	}
}

// cut shortens text to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
