// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestTornTailIsTolerated(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	appendAll(t, l, "m1", "a", "b")
	require.NoError(t, l.Close())
	file := segmentFiles(t, l, "m1")[0]
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	second := len(whole) - recordOverhead - 1

	for cut := range whole {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o600))
		l := openLog(t, Config{Dir: t.TempDir()})
		require.NoError(t, os.CopyFS(l.cfg.Dir, os.DirFS(dir)))
		l = openLog(t, Config{Dir: l.cfg.Dir})
		appendAll(t, l, "m1", "later")
		var s sink
		_, err := l.Replay(t.Context(), "m1", s.send)
		require.NoError(t, err)
		want := []string{"later"}
		if cut >= second {
			want = []string{"a", "later"}
		}
		require.Equal(t, want, s.got, "cut at %d", cut)
		torn := 1.0
		if cut == headerBytes || cut == second {
			torn = 0 // A whole segment that ends there.
		}
		require.Equal(t, torn, testutil.ToFloat64(l.metrics.torn.WithLabelValues("m1")), "cut at %d", cut)
		require.Zero(t, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropCorrupt)))
	}
}

func TestZerosAtTheEndAreTorn(t *testing.T) {
	l := openLog(t, Config{})
	appendAll(t, l, "m1", "a")
	require.NoError(t, l.Close())
	file := segmentFiles(t, l, "m1")[0]
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(whole, make([]byte, 100)...), 0o600))
	l = openLog(t, Config{Dir: l.cfg.Dir})
	var s sink
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, s.got)
}

func TestDamageIsLoudAndStopsTheSegment(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	appendAll(t, l, "m1", "aaaa", "bbbb", "cccc")
	require.NoError(t, l.Close())
	file := segmentFiles(t, l, "m1")[0]
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	begin := headerBytes + recordOverhead + 4 // Of the second record.

	for i := begin; i < begin+recordOverhead+4; i++ {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1
		at := t.TempDir()
		require.NoError(t, os.CopyFS(at, os.DirFS(dir)))
		require.NoError(t, os.WriteFile(filepath.Join(at, "m1", filepath.Base(file)), damaged, 0o600))
		l := openLog(t, Config{Dir: at})
		appendAll(t, l, "m1", "later")
		var s sink
		_, err := l.Replay(t.Context(), "m1", s.send)
		require.NoError(t, err)
		require.Equal(t, []string{"aaaa", "later"}, s.got, "byte %d", i)
		require.Positive(t, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropCorrupt)), "byte %d", i)
		require.Zero(t, testutil.ToFloat64(l.metrics.torn.WithLabelValues("m1")), "byte %d", i)
		require.FileExists(t, filepath.Join(at, "m1", corruptFile))
		require.Zero(t, l.used.Load())
	}
}

func TestDamagedPositionBeginsAgain(t *testing.T) {
	for _, content := range []string{"{", `{"version":9}`, `{"version":1,"segment":1,"offset":17}`, `{"version":1,"segment":2,"offset":37}`} {
		l := openLog(t, Config{})
		appendAll(t, l, "m1", "a", "b")
		require.NoError(t, l.Close())
		require.NoError(t, os.WriteFile(filepath.Join(l.cfg.Dir, "m1", positionFile), []byte(content), 0o600))
		var s sink
		_, err := openLog(t, Config{Dir: l.cfg.Dir}).Replay(t.Context(), "m1", s.send)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, s.got, content)
	}
}
