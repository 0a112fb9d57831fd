// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l line
		var order []string
		a, b, c, d := &Account{}, &Account{}, &Account{}, &Account{}
		require.Same(t, a, l.claim(a))
		require.Same(t, a, l.claim(b), "it stays the first")
		require.True(t, l.goesOn(a))
		gone, cancel := context.WithCancelCause(t.Context())
		stand := func(name string, ctx context.Context, who *Account) {
			go func() { order = append(order, fmt.Sprint(name, l.wait(ctx, who))) }()
			synctest.Wait()
		}
		stand("b", t.Context(), b)
		stand("c", gone, c)
		stand("d", t.Context(), d)
		require.Equal(t, 3, l.waiting())
		l.leave(b) // It does not go on.
		cancel(errWaited)
		synctest.Wait()
		require.Equal(t, 2, l.waiting())
		l.leave(a)
		l.leave(a)
		synctest.Wait()
		l.leave(b)
		synctest.Wait()
		require.True(t, l.goesOn(d))
		l.leave(d)
		require.Nil(t, l.first, "nobody is left")
		require.Equal(t, []string{"c" + errWaited.Error(), "b<nil>", "d<nil>"}, order)
		require.NoError(t, l.wait(gone, c), "nobody is before it")
		require.True(t, l.goesOn(c))
	})
}

// Whatever comes and goes, at any moment, nobody waits for ever and one at a time goes on. A deadlock would end the bubble.
func TestLineMovesOn(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var l line
			var mu sync.Mutex
			inside := 0
			var all sync.WaitGroup
			for range 30 {
				begin, patience, work := pause(random), pause(random), pause(random)
				all.Go(func() {
					time.Sleep(begin)
					a := &Account{}
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					err := l.wait(ctx, a)
					if err == nil {
						mu.Lock()
						inside++
						if inside > 1 {
							t.Errorf("seed %d: two at a time", seed)
						}
						mu.Unlock()
						time.Sleep(work)
						mu.Lock()
						inside--
						mu.Unlock()
					}
					l.leave(a)
				})
			}
			all.Wait()
			if l.first != nil || l.waiting() > 0 {
				t.Errorf("seed %d: somebody is left", seed)
			}
		})
	}
}

// pause makes moments coincide often.
func pause(random *rand.Rand) time.Duration { return time.Duration(random.IntN(10)) * time.Millisecond }
