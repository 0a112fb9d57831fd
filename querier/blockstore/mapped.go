// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// errDamaged says that a block cannot be understood: its bytes are not what its checksums say, or make no sense.
var errDamaged = errors.New("the block is damaged")

// mappedIndex is the index of a block as the index reader sees it: one byte slice. It has no way to fetch, because a
// byte slice has no errors: a range that is not all there is a panic of type pageFault, which only try may meet.
type mappedIndex struct{ file *pageFile }

// pageFault are pages that a call needs and that are not ready.
type pageFault struct{ pages run }

func (b *openBlock) bytes() mappedIndex { return mappedIndex{b.file} }

// Len implements index.ByteSlice.
func (m mappedIndex) Len() int { return len(m.file.index) }

// Range implements index.ByteSlice. The whole index is passed on without a look: the reader asks for that to look a symbol up,
// and the symbols are ready since it was made.
func (m mappedIndex) Range(start, end int) []byte {
	if start == 0 && end == len(m.file.index) {
		return m.file.index
	}
	missing := m.file.ready.missing(run{start / pageBytes, (end + pageBytes - 1) / pageBytes})
	if missing != (run{}) {
		panic(pageFault{missing})
	}
	return m.file.index[start:end]
}

// read calls fn, which may use the index reader, and calls it again for as long as it misses pages, after fetching them. fn
// must be such that it can be called again. Only pages are fetched that it needed, and they stay, so that it comes to an end.
func (b *openBlock) read(ctx context.Context, use *usage, fn func() error) error {
	for {
		fault, err := try(fn)
		if fault == nil {
			return b.name(err)
		}
		if err := b.load(ctx, use, runs{fault.pages}); err != nil {
			return err
		}
	}
}

// name adds the block to an error of the index reader. It has all the bytes that it wants, so that it is the bytes.
func (b *openBlock) name(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if !errors.Is(err, errDamaged) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return fmt.Errorf("block %s: %w", b.id, err)
}

// try calls fn and makes errors of the panics that bytes can cause: pages that are not there, nonsense that passed its
// checksum, and a disk that cannot read what was mapped, which is a signal otherwise. Any other panic goes on.
func try(fn func() error) (fault *pageFault, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case pageFault:
			fault = &p
		case runtime.Error:
			err = fmt.Errorf("%w: %w", errDamaged, p)
		default:
			panic(p)
		}
	}()
	return nil, fn()
}
