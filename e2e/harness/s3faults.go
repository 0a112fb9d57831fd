// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// S3Fault is one way in which a store, or the way to it, treats a request badly.
type S3Fault int

// The faults that stores are known for.
const (
	S3Slow             S3Fault = iota // The answer takes a while.
	S3InternalError                   // 500, and nothing was done.
	S3SlowDown                        // 503, and nothing was done.
	S3LostAnswer                      // It is done, and the connection ends without an answer.
	S3TruncatedBody                   // A read breaks off half-way.
	S3PartialPut                      // A write is answered 200, and the object has the first half only.
	S3StaleList                       // A list is answered as it was the last time.
	S3IgnoresNoneMatch                // A write that asks for no object to be there replaces the one that is.
	s3FaultKinds
)

var s3FaultNames = [s3FaultKinds]string{
	"slow", "internal error", "slow down", "lost answer", "truncated body", "partial put", "stale list", "if-none-match ignored",
}

// String is the name of the fault.
func (f S3Fault) String() string { return s3FaultNames[f] }

// AllS3Faults has one of each.
func AllS3Faults() (all []S3Fault) {
	for f := range s3FaultKinds {
		all = append(all, f)
	}
	return all
}

// FaultyS3 stands in front of an S3 server and does to some of the requests what it is told. Its methods are safe for
// concurrent use.
type FaultyS3 struct {
	S3
	behind  bucket.Bucket // The server without faults.
	proxy   *httputil.ReverseProxy
	latency time.Duration

	mtx    sync.Mutex
	random *rand.Rand
	rate   float64
	faults []S3Fault
	counts [s3FaultKinds]int
	asked  int
	lists  map[string][]byte // What was answered last, by query.
}

// StartFaultyS3 starts a proxy in front of the server. It does nothing to any request until Misbehave is called.
func (e *Env) StartFaultyS3(t testing.TB, server *S3, seed uint64) *FaultyS3 {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: server.addr}
	f := &FaultyS3{
		S3:      S3{addr: Loopback(e.FreePort(t)), Process: server.Process},
		behind:  server.Open(t, ""),
		latency: 20 * time.Millisecond,
		random:  rand.New(rand.NewPCG(seed, 0)),
		lists:   map[string][]byte{},
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // It is signed.
		},
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
	}
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatalf("listen for the S3 proxy: %v", err)
	}
	srv := &http.Server{Handler: f, ReadHeaderTimeout: Patience}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(listener) // Until it is closed.
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return f
}

// Open opens the bucket below prefix as Penstock does.
func (s *S3) Open(t testing.TB, prefix string) bucket.Bucket {
	t.Helper()
	cfg, err := bucket.ParseConfig([]byte(s.ObjstoreConfig(prefix)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// Misbehave lets the given share of the requests meet one of the faults from now on.
func (f *FaultyS3) Misbehave(rate float64, faults ...S3Fault) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.rate, f.faults = rate, faults
}

// SetLatency is how long S3Slow takes; Misbehave(1, S3Slow) is a store that is far away.
func (f *FaultyS3) SetLatency(d time.Duration) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.latency = d
}

// Requests is how many requests have come, and Count how many have met a fault.
func (f *FaultyS3) Requests() int {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.asked
}

// Count is how many requests have met a fault.
func (f *FaultyS3) Count(fault S3Fault) int {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.counts[fault]
}

// Faults tells how many requests met which fault.
func (f *FaultyS3) Faults() string {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	var out []string
	for kind, n := range f.counts {
		out = append(out, fmt.Sprintf("%s %d", S3Fault(kind), n))
	}
	return strings.Join(out, ", ")
}

// s3Request is what the faults need to know of a request.
type s3Request struct {
	put, get, list bool
	key            string // Below the bucket.
	noneMatch      bool
}

func readS3Request(r *http.Request) s3Request {
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/"+s3Bucket), "/")
	query := r.URL.Query()
	return s3Request{
		put:       r.Method == http.MethodPut && key != "" && !query.Has("uploadId"),
		get:       r.Method == http.MethodGet && key != "",
		list:      r.Method == http.MethodGet && key == "",
		key:       key,
		noneMatch: r.Header.Get("If-None-Match") != "",
	}
}

// can tells whether the fault can happen to this request.
func (q s3Request) can(f S3Fault) bool {
	switch f {
	case S3TruncatedBody:
		return q.get
	case S3PartialPut:
		return q.put
	case S3StaleList:
		return q.list
	case S3IgnoresNoneMatch:
		return q.put && q.noneMatch
	default:
		return true
	}
}

// choose returns what happens to a request, and whether anything does. The first request that can meet a fault does.
func (f *FaultyS3) choose(q s3Request) (S3Fault, bool) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.asked++
	possible := slices.DeleteFunc(slices.Clone(f.faults), func(fault S3Fault) bool { return !q.can(fault) })
	if len(possible) == 0 {
		return 0, false
	}
	fault, happens := possible[f.random.IntN(len(possible))], f.random.Float64() < f.rate
	if i := slices.IndexFunc(possible, func(fault S3Fault) bool { return f.counts[fault] == 0 }); i >= 0 {
		fault, happens = possible[i], true
	}
	if happens {
		f.counts[fault]++
	}
	return fault, happens
}

// ServeHTTP implements http.Handler.
func (f *FaultyS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := readS3Request(r)
	fault, happens := f.choose(q)
	if !happens {
		f.pass(w, r, q)
		return
	}
	switch fault {
	case S3Slow:
		f.mtx.Lock()
		wait := f.latency
		f.mtx.Unlock()
		time.Sleep(wait)
		f.pass(w, r, q)
	case S3InternalError:
		s3Error(w, r, http.StatusInternalServerError, "InternalError")
	case S3SlowDown:
		s3Error(w, r, http.StatusServiceUnavailable, "SlowDown")
	case S3LostAnswer:
		f.proxy.ServeHTTP(&lostAnswer{}, r)
		panic(http.ErrAbortHandler)
	case S3TruncatedBody:
		f.truncated(w, r)
	case S3PartialPut:
		f.partialPut(w, r, q)
	case S3StaleList:
		f.staleList(w, r, q)
	case S3IgnoresNoneMatch:
		_ = f.behind.Delete(r.Context(), q.key)
		f.proxy.ServeHTTP(w, r)
	}
}

// s3Error answers as S3 does. The body of the request is read, as a server does that has not hung up.
func s3Error(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>Injected.</Message></Error>`, code)
}

// pass answers as the server does, and remembers lists.
func (f *FaultyS3) pass(w http.ResponseWriter, r *http.Request, q s3Request) {
	if !q.list {
		f.proxy.ServeHTTP(w, r)
		return
	}
	kept := &keptAnswer{ResponseWriter: w}
	f.proxy.ServeHTTP(kept, r)
	if kept.status == http.StatusOK {
		f.mtx.Lock()
		f.lists[r.URL.RawQuery] = kept.body.Bytes()
		f.mtx.Unlock()
	}
}

func (f *FaultyS3) staleList(w http.ResponseWriter, r *http.Request, q s3Request) {
	f.mtx.Lock()
	old, ok := f.lists[r.URL.RawQuery]
	f.mtx.Unlock()
	if !ok {
		f.pass(w, r, q)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(old)
}

// truncated announces the whole body and sends half of it.
func (f *FaultyS3) truncated(w http.ResponseWriter, r *http.Request) {
	rec := &keptAnswer{ResponseWriter: &lostAnswer{}}
	f.proxy.ServeHTTP(rec, r)
	body := rec.body.Bytes()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.status)
	_, _ = w.Write(body[:len(body)/2])
	if len(body) > 0 {
		panic(http.ErrAbortHandler)
	}
}

// partialPut answers once the damage is done.
func (f *FaultyS3) partialPut(w http.ResponseWriter, r *http.Request, q s3Request) {
	rec := &keptAnswer{ResponseWriter: &lostAnswer{}}
	f.proxy.ServeHTTP(rec, r)
	f.cutInHalf(q.key)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes())
}

// cutInHalf leaves the first half of an object.
func (f *FaultyS3) cutInHalf(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r, err := f.behind.Get(ctx, key)
	if err != nil {
		return // It was refused.
	}
	defer r.Close()
	whole, err := io.ReadAll(r)
	if err != nil {
		return
	}
	half := whole[:len(whole)/2]
	_ = f.behind.Put(ctx, key, bytes.NewReader(half), int64(len(half)))
}

// keptAnswer passes an answer on and keeps it.
type keptAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) WriteHeader(status int) {
	k.status = status
	k.ResponseWriter.WriteHeader(status)
}

func (k *keptAnswer) Write(p []byte) (int, error) {
	if k.status == 0 {
		k.status = http.StatusOK
	}
	k.body.Write(p)
	return k.ResponseWriter.Write(p)
}

// lostAnswer is an answer that nobody gets.
type lostAnswer struct{ header http.Header }

func (l *lostAnswer) Header() http.Header {
	if l.header == nil {
		l.header = http.Header{}
	}
	return l.header
}

func (l *lostAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (l *lostAnswer) WriteHeader(int)             {}
