// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// The turn is held while what was read is worked on, and never while the network is waited for.
func TestTurnReader(t *testing.T) {
	const piece = 4096
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 3*piece + 7} {
		held, taken := 0, 0
		turn := func(context.Context) (func(), error) {
			held++
			taken++
			return func() { held-- }, nil
		}
		want := bytes.Repeat([]byte("abcdefg"), size/7+1)[:size]
		network := readerFunc(func(p []byte) (int, error) { require.Zero(t, held); return 0, nil })
		r := newTurnReader(t.Context(), io.MultiReader(iotest.HalfReader(bytes.NewReader(want)), limitCalls(network)), turn)
		var got []byte
		for {
			p := make([]byte, piece)
			n, err := r.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			require.True(t, n == piece || len(got) == size, "%d bytes", n)
		}
		require.True(t, bytes.Equal(want, got))
		require.Equal(t, size/piece+1, taken)
		r.close()
		require.Zero(t, held)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// limitCalls ends after one call.
func limitCalls(r io.Reader) io.Reader {
	called := false
	return readerFunc(func(p []byte) (int, error) {
		if called {
			return 0, io.EOF
		}
		called = true
		return r.Read(p)
	})
}

func TestTurnReaderPassesErrorsOn(t *testing.T) {
	boom := errors.New("boom")
	r := newTurnReader(t.Context(), io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(boom)), nil)
	got, err := io.ReadAll(r)
	require.Equal(t, "abc", string(got))
	require.ErrorIs(t, err, boom)
	r.close()

	r = newTurnReader(t.Context(), bytes.NewReader([]byte("abc")), func(context.Context) (func(), error) { return nil, boom })
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, boom)
	r.close()
}

// Whoever keeps the account of a query ends it, and does not make a member missing.
func TestReceivedEndsTheQuery(t *testing.T) {
	enough := &tooLargeError{member: "nobody", limit: 1}
	var sum int64
	body := &meteredBody{body: io.NopCloser(bytes.NewReader(make([]byte, 1000))), left: 10_000, limit: 10_000, alive: func() {}, received: func(n int64) error {
		if sum += n; sum > 500 {
			return enough
		}
		return nil
	}}
	_, err := io.ReadAll(body)
	require.ErrorIs(t, err, enough)
	require.True(t, isFatal(t.Context(), err))
}
