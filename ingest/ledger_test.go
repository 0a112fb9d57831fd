// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func newTestLedger(t testing.TB, change ...func(*LedgerConfig)) *Ledger {
	t.Helper()
	cfg := LedgerConfig{ReplicaLabel: "replica", Tenant: tenantOf}
	for _, c := range change {
		c(&cfg)
	}
	return NewLedger(cfg, quietLogger(), prometheus.NewRegistry())
}

// onlySender returns the only row of the test tenant.
func onlySender(t *testing.T, l *Ledger) SenderStatus {
	t.Helper()
	rows := l.tenantStatuses(testTenant)
	require.Len(t, rows, 1)
	return rows[0]
}

// sent is a series of the sender prod/a.
func sent(ts int64, v float64, name string, more ...string) prompb.TimeSeries {
	return seriesV1(ts, v, append([]string{"__name__", name, "cluster", "prod", "replica", "a"}, more...)...)
}

func TestLedgerBooksWhatBecameOfEveryRequest(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	future := now + time.Hour.Milliseconds()
	good := sent(now, 1, "good")
	withHistogram := sent(now, 1, "h")
	withHistogram.Samples = nil
	withHistogram.Histograms = []prompb.Histogram{prompb.FromIntHistogram(now, intHistogram())}
	withExemplar := sent(now, 1, "e")
	withExemplar.Exemplars = []prompb.Exemplar{{Labels: labelsV1("trace_id", "x"), Value: 1, Timestamp: now}}
	nameless := prompb.TimeSeries{Labels: labelsV1("cluster", "prod", "replica", "a"), Samples: good.Samples}

	for name, c := range map[string]struct {
		before   []prompb.TimeSeries // stored already
		request  []prompb.TimeSeries
		repeat   int // times that it is delivered again
		writer   Writer
		requests RequestCounts
		samples  SampleCounts
		reasons  map[Reason]uint64
		newest   int64
	}{
		"accepted": {
			request:  []prompb.TimeSeries{good, withHistogram, withExemplar},
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: 3, Accepted: 3, Distinct: 3},
			newest:   now,
		},
		"delivered three times": {
			request:  []prompb.TimeSeries{good, sent(now-1000, 1, "other")},
			repeat:   2,
			requests: RequestCounts{Accepted: 3},
			samples:  SampleCounts{Received: 6, Accepted: 6, Duplicate: 4, Distinct: 2},
			newest:   now,
		},
		"some refused before owners are asked": {
			request:  []prompb.TimeSeries{nameless, sent(now-5000, 1, "late"), sent(future, 1, "future")},
			repeat:   1,
			requests: RequestCounts{Rejected: 2},
			samples:  SampleCounts{Received: 6, Accepted: 2, Duplicate: 1, Distinct: 1, Rejected: 4},
			reasons:  map[Reason]uint64{ReasonMissingName: 2, ReasonFuture: 2},
			newest:   now - 5000,
		},
		"some refused by the storage": {
			before:   []prompb.TimeSeries{sent(now, 2, "good")},
			request:  []prompb.TimeSeries{good, sent(now-1000, 1, "next")},
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 2, Accepted: 1, Distinct: 1, Rejected: 1},
			reasons:  map[Reason]uint64{ReasonDuplicate: 1},
			newest:   now - 1000,
		},
		"all refused": {
			request:  []prompb.TimeSeries{sent(future, 1, "future")},
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 1, Rejected: 1},
			reasons:  map[Reason]uint64{ReasonFuture: 1},
		},
		"one series unavailable": {
			request: []prompb.TimeSeries{good, withHistogram},
			repeat:  1,
			writer: writerFunc(func(*Batch) Outcome {
				return Outcome{Written: Counts{Samples: 1}, Unavailable: 1, Cause: "a test"}
			}),
			requests: RequestCounts{Unavailable: 2},
			samples:  SampleCounts{Received: 4, Unavailable: 4},
		},
	} {
		for _, contentType := range []string{typeV1, typeV2} {
			t.Run(name+" "+contentType, func(t *testing.T) {
				t.Parallel()
				store, ledger := openStore(t), newTestLedger(t)
				h := oneNode(t, store, func(cfg *HandlerConfig) {
					cfg.Ledger = ledger
					if c.writer != nil {
						cfg.Writer = c.writer
					}
				})
				if len(c.before) > 0 {
					post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: c.before}))
				}
				body := encodeV1(t, &prompb.WriteRequest{Timeseries: c.request})
				if contentType == typeV2 {
					body = encodeV2(t, toV2(c.request))
				}
				for range c.repeat + 1 {
					post(t, h, contentType, body)
				}
				got := onlySender(t, ledger)
				require.Equal(t, "prod/a", got.Cluster+"/"+got.Replica)
				require.Equal(t, c.requests, got.Requests)
				require.Equal(t, c.samples, got.Samples)
				require.Equal(t, c.reasons, got.Reasons)
				if c.newest != 0 {
					require.Equal(t, c.newest, got.LastSample.UnixMilli())
				} else {
					require.True(t, got.LastSample.IsZero())
				}
				require.Equal(t, got.Samples.Received, got.Samples.Accepted+got.Samples.Rejected+got.Samples.Unavailable)
				require.EqualValues(t, stored(store.dump(t))-len(c.before), got.Samples.Distinct)
			})
		}
	}
}

// stored is the number of samples in a dump.
func stored(dump map[string][]storedSample) (n int) {
	for _, samples := range dump {
		n += len(samples)
	}
	return n
}

func TestLedgerCountsHints(t *testing.T) {
	t.Parallel()
	c, ledger := newCluster(t, 3, 3), newTestLedger(t)
	c.kill(2)
	h := NewHandler(HandlerConfig{Writer: c.dist, Tenant: tenantOf, Ledger: ledger}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{sent(nowMillis(), 1, "a"), sent(nowMillis(), 1, "b")}})
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body).Code)
	require.EqualValues(t, 2, onlySender(t, ledger).Samples.Hinted)
}

func TestLedgerBooksRequestsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	ledger, meanwhile := newTestLedger(t), func() {}
	busy := writerFunc(func(b *Batch) Outcome {
		meanwhile()
		return Outcome{Written: b.received}
	})
	h := NewHandler(HandlerConfig{Writer: busy, Tenant: tenantOf, Ledger: ledger, MaxInflightBytes: 1}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{sent(nowMillis(), 1, "a")}})

	// Somebody unknown who cannot be read gets no row of a tenant's.
	require.Equal(t, http.StatusBadRequest, post(t, h, typeV1, []byte("no snappy")).Code)
	require.Empty(t, ledger.tenantStatuses(testTenant))
	require.EqualValues(t, 1, ledger.tenantStatuses("")[0].Requests.Unreadable)

	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body, "Retry-Attempt", "0").Code)
	require.Equal(t, http.StatusUnsupportedMediaType, post(t, h, "text/plain", body).Code)
	meanwhile = func() {
		require.Equal(t, http.StatusServiceUnavailable, post(t, h, typeV1, body, "Retry-Attempt", "3").Code)
	}
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body).Code)
	// Metadata comes without external labels, and has no samples to account for.
	meanwhile = func() {}
	meta := &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "a", Help: "b"}}}
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, encodeV1(t, meta)).Code)

	rows := ledger.tenantStatuses(testTenant)
	require.Len(t, rows, 2)
	require.Equal(t, "192.0.2.1", rows[0].Address)
	require.Equal(t, RequestCounts{Unreadable: 1, Unavailable: 1, Retried: 1}, rows[0].Requests)
	require.Equal(t, RequestCounts{Accepted: 2}, rows[1].Requests)
}

func TestLedgerTellsSendersApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", senderNameBytes-1) + "é"
	for name, c := range map[string]struct {
		labels    []string
		trust     bool
		forwarded []string
		want      senderID
	}{
		"pair":                     {labels: []string{"cluster", "prod", "replica", "a"}, want: senderID{cluster: "prod", replica: "a"}},
		"labels not sorted":        {labels: []string{"replica", "a", "cluster", "prod"}, want: senderID{cluster: "prod", replica: "a"}},
		"lone server":              {labels: []string{"cluster", "prod"}, want: senderID{cluster: "prod"}},
		"pair without a cluster":   {labels: []string{"replica", "a"}, want: senderID{replica: "a"}},
		"no external labels":       {labels: []string{"job", "x"}, want: senderID{address: "192.0.2.1"}},
		"empty values":             {labels: []string{"cluster", "", "replica", ""}, want: senderID{address: "192.0.2.1"}},
		"no metric name":           {labels: []string{"__name__", "", "replica", "a"}, want: senderID{replica: "a"}},
		"long value is cut":        {labels: []string{"cluster", long}, want: senderID{cluster: long[:senderNameBytes-1]}},
		"value is not UTF-8":       {labels: []string{"cluster", "\xff", "replica", "a"}, want: senderID{replica: "a"}},
		"labels win over header":   {labels: []string{"replica", "a"}, trust: true, forwarded: []string{"10.0.0.9"}, want: senderID{replica: "a"}},
		"header is not trusted":    {forwarded: []string{"10.0.0.9"}, want: senderID{address: "192.0.2.1"}},
		"header of the last proxy": {trust: true, forwarded: []string{"1.1.1.1", "6.6.6.6, 10.0.0.9"}, want: senderID{address: "10.0.0.9"}},
		"header with a port":       {trust: true, forwarded: []string{"[2001:db8::1]:80"}, want: senderID{address: "2001:db8::1"}},
		"header is nonsense":       {trust: true, forwarded: []string{"unknown"}, want: senderID{address: "192.0.2.1"}},
	} {
		series := seriesV1(nowMillis(), 1, append([]string{"__name__", "m"}, c.labels...)...)
		if len(c.labels) > 0 && c.labels[0] == "__name__" {
			series = seriesV1(nowMillis(), 1, c.labels...)
		}
		c.want.tenant = testTenant
		for _, proto := range []protocol{protoV1, protoV2} {
			t.Run(name+" "+proto.String(), func(t *testing.T) {
				data, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}}).Marshal()
				if proto == protoV2 {
					data, err = toV2([]prompb.TimeSeries{series}).Marshal()
				}
				require.NoError(t, err)
				r := httptest.NewRequest(http.MethodPost, "/", nil)
				r.Header["X-Forwarded-For"] = c.forwarded
				l := newTestLedger(t, func(cfg *LedgerConfig) { cfg.TrustForwardedFor = c.trust })
				pool := batchPool{limits: Limits{}.withDefaults(), cache: NewSeriesCache(CacheConfig{}, nil)}
				for _, cached := range []bool{false, true} {
					b := pool.get(testTenant)
					b.bodyBuf = data
					require.NoError(t, b.parse(proto, anyTime()))
					require.Equal(t, c.want, l.identify(r, b), "cached: %v", cached)
				}
			})
		}
	}
}

func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1_000_000, 0)
	l := newTestLedger(t, func(cfg *LedgerConfig) {
		cfg.MaxSenders, cfg.IdleAfter, cfg.Now = 2, time.Hour, func() time.Time { return clock }
	})
	send := func(tenant, replica string) {
		b := batchOf(t, seriesV1(1, 1, "__name__", "m", "replica", replica))
		b.Tenant = tenant
		l.record(httptest.NewRequest(http.MethodPost, "/", nil), b, Outcome{Written: Counts{Samples: 1}})
	}
	replicas := func(tenant string) (out []string) {
		for _, s := range l.tenantStatuses(tenant) {
			out = append(out, s.Replica+s.Address)
		}
		return out
	}
	for _, r := range []string{"a", "b", "c", "d", "a"} {
		send("one", r)
	}
	require.Equal(t, []string{"other", "a", "b"}, replicas("one"))
	require.EqualValues(t, 2, l.tenantStatuses("one")[0].Samples.Accepted)

	clock = clock.Add(2 * time.Hour)
	send("one", "b")
	l.expire()
	require.Equal(t, []string{"b"}, replicas("one"))
	send("one", "e")
	require.Equal(t, []string{"b", "e"}, replicas("one"), "expired senders leave room")

	for i := range ledgerRowsMax + 10 {
		send(fmt.Sprint("tenant-", i), "a")
	}
	require.LessOrEqual(t, len(l.rows), ledgerRowsMax+1)
	require.Equal(t, []string{"other"}, replicas(""), "tenants beyond the bound have one row together")
	clock = clock.Add(2 * time.Hour)
	l.expire()
	require.Empty(t, l.rows)
	require.Empty(t, l.perTenant)
}

func TestLedgerMetrics(t *testing.T) {
	t.Parallel()
	clock := time.UnixMilli(10_500)
	l := newTestLedger(t, func(cfg *LedgerConfig) { cfg.Now = func() time.Time { return clock } })
	b := batchOf(t, sent(10_000, 1, "m"), sent(10_000, 1, "n"))
	l.record(httptest.NewRequest(http.MethodPost, "/", nil), b, Outcome{
		Written:  Counts{Samples: 1},
		Rejected: []Rejection{{Series: 1, Items: Counts{Samples: 1}, Reason: ReasonTooOld}},
	})
	clock = clock.Add(time.Second)
	const id = `sender_address="",sender_cluster="prod",sender_replica="a",tenant="team-a"`
	want := ""
	for _, m := range []struct{ name, typ, line string }{
		{"accepted_samples_total", "counter", "{" + id + "} 1"},
		{"lag_seconds", "gauge", "{" + id + "} 1.5"},
		{"rejected_samples_total", "counter", `{reason="too_old",` + id + "} 1"},
	} {
		want += "# TYPE penstock_sender_" + m.name + " " + m.typ + "\npenstock_sender_" + m.name + m.line + "\n"
	}
	got, err := testutil.CollectAndFormat(senderCollector{l}, expfmt.TypeTextPlain,
		"penstock_sender_accepted_samples_total", "penstock_sender_lag_seconds", "penstock_sender_rejected_samples_total")
	require.NoError(t, err)
	for line := range strings.Lines(want) {
		require.Contains(t, string(got), line)
	}
	problems, err := testutil.CollectAndLint(senderCollector{l})
	require.NoError(t, err)
	require.Empty(t, problems)
}

// TestLedgerBookingAllocatesNothing holds the promise that a request costs the ledger no
// memory once its sender is known.
func TestLedgerBookingAllocatesNothing(t *testing.T) {
	for _, proto := range []protocol{protoV1, protoV2} {
		l := newTestLedger(t)
		var series []prompb.TimeSeries
		for i := range 100 {
			series = append(series, sent(1000, 1, fmt.Sprint("m", i)))
		}
		data, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
		if proto == protoV2 {
			data, err = toV2(series).Marshal()
		}
		require.NoError(t, err)
		pool := batchPool{limits: Limits{}.withDefaults()}
		b := pool.get(testTenant)
		b.bodyBuf, b.wireBuf = data, data
		require.NoError(t, b.parse(proto, anyTime()))
		again := httptest.NewRequest(http.MethodPost, "/", nil)
		again.Header.Set("Retry-Attempt", "1")
		o := Outcome{Written: b.received}
		for _, r := range []*http.Request{httptest.NewRequest(http.MethodPost, "/", nil), again} {
			book := func() { l.record(r, b, o) }
			book()
			require.Zero(t, testing.AllocsPerRun(100, book), proto.String())
		}
	}
}

// BenchmarkLedger is what the ledger adds to one request of 2,000 samples.
func BenchmarkLedger(b *testing.B) {
	l := newTestLedger(b)
	batch := batchOf(b, benchRequest(nowMillis()).Timeseries...)
	batch.wireBuf = encodeV1(b, benchRequest(nowMillis()))
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	o := Outcome{Written: batch.received}
	b.ReportAllocs()
	n := byte(0)
	for b.Loop() {
		batch.wireBuf[n] ^= 0xff // Another request.
		n++
		l.record(r, batch, o)
	}
	perSample(b)
}
