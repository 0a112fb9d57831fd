// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// receiver answers the n-th delivery of each body as it is told, and checks that what is sent again is the same.
type receiver struct {
	answers []int

	mtx  sync.Mutex
	seen map[string]int // deliveries by body
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	n := r.seen[string(body)]
	r.seen[string(body)]++
	w.WriteHeader(r.answers[min(n, len(r.answers)-1)])
}

// runLoad sends so many ticks of a plan to a server.
func runLoad(t *testing.T, h http.Handler, impatient bool, ticks int) (*Load, error) {
	t.Helper()
	server := httptest.NewServer(h)
	defer server.Close()
	// All ticks are due, and the next one is not for a while.
	plan := testPlan
	plan.Shards, plan.Interval = 10, time.Hour
	plan.Start = time.Now().Add(3*time.Minute - time.Duration(ticks)*plan.Interval).Truncate(time.Millisecond)
	l := NewLoad(LoadConfig{
		Plan: plan, MaxTicks: ticks, Impatient: impatient,
		Targets: func() []Target { return []Target{{Name: "server", URL: server.URL}} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for l.Record.Count(Unknown)+l.Record.Count(Acked)+l.Record.Count(Refused) < ticks*plan.Shards {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	return l, l.Run(ctx, t.Context())
}

// TestLoadOutcomes: the record says of every request what the last answer to it said.
func TestLoadOutcomes(t *testing.T) {
	const ticks, requests = 3, 30
	for name, c := range map[string]struct {
		answers   []int
		impatient bool
		want      map[Outcome]int
	}{
		"all are taken":          {[]int{204}, false, map[Outcome]int{Acked: requests}},
		"the second time":        {[]int{503, 200}, false, map[Outcome]int{Acked: requests}},
		"refused":                {[]int{400}, false, map[Outcome]int{Refused: requests}},
		"refused after a 5xx":    {[]int{500, 400}, false, map[Outcome]int{Refused: requests}},
		"one does not try again": {[]int{503, 204}, true, map[Outcome]int{Acked: requests - ticks, Unknown: ticks}},
	} {
		r := &receiver{answers: c.answers, seen: map[string]int{}}
		l, err := runLoad(t, r, c.impatient, ticks)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, o := range []Outcome{Unsent, Unknown, Acked, Refused} {
			if n := l.Record.Count(o); n != c.want[o] {
				t.Errorf("%s: %d requests have outcome %d, want %d", name, n, o, c.want[o])
			}
		}
		if len(r.seen) != requests {
			t.Errorf("%s: %d different bodies for %d requests: what is sent again must be the same", name, len(r.seen), requests)
		}
	}
}

// TestFullRecordStopsTheLoad: what cannot be recorded is not sent.
func TestFullRecordStopsTheLoad(t *testing.T) {
	r := NewRecord(1, 2)
	for tick := range 2 {
		if err := r.Set(0, tick, Acked); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Set(0, 2, Unknown); err == nil {
		t.Error("a tick beyond the bound was recorded")
	}
}

// TestRead: an answer is compared only when it is a success that says nothing of what is missing, and bits survive.
func TestRead(t *testing.T) {
	w := Window{Shard: 0, From: 0, To: 3, Before: []Outcome{Acked, Acked, Acked}, After: []Outcome{Acked, Acked, Acked}}
	printed := func(warnings string) []byte {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"status":"success"%s,"data":{"resultType":"matrix","result":[`, warnings)
		for i, s := range testPlan.answer(w) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"metric":{"__name__":%q,"instance":%q,"part":%q},"values":[`, s.Labels["__name__"], s.Labels["instance"], s.Labels[PartLabel])
			for j, sample := range s.Samples {
				if j > 0 {
					b.WriteByte(',')
				}
				fmt.Fprintf(&b, `[%.3f,"%v"]`, float64(sample.Time)/1000, sample.Value)
			}
			b.WriteString(`]}`)
		}
		b.WriteString(`]}}`)
		return b.Bytes()
	}
	code, body := http.StatusOK, printed("")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write(body)
	}))
	defer server.Close()
	read := func() ([]Found, error) {
		return NewReader(10*time.Second).Read(t.Context(), Target{Name: "server", URL: server.URL}, testPlan, 0, 0, 3, true)
	}
	answer, err := read()
	if err != nil {
		t.Fatal(err)
	}
	if f := testPlan.Compare(w, answer); f.Right != 9 || f.Err() != nil {
		t.Errorf("a whole answer: %s, %v", f, f.Err())
	}
	body = printed(`,"warnings":["a member is missing"]`)
	if _, err := read(); !errors.Is(err, ErrIncomplete) {
		t.Errorf("an answer with a warning: %v", err)
	}
	code, body = http.StatusServiceUnavailable, []byte(`{"status":"error"}`)
	if _, err := read(); err == nil || errors.Is(err, ErrIncomplete) {
		t.Errorf("a 503: %v", err)
	}
}
