// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// localOwner is this member as an owner. The storage takes no deadline, so that the
// bytes under way are bounded here as they are for a peer.
type localOwner struct {
	writer   LocalWriter
	inflight gate
	metrics  *distributorMetrics
	logger   *slog.Logger
}

// write never panics: a defect that one request meets in the storage must not stop a
// member that serves others. It is counted and logged, and the series are
// unavailable here.
func (o *localOwner) write(ctx context.Context, b *Batch, part []uint32) (reply Reply) {
	n := len(b.bodyBuf)
	if !o.inflight.enter(n) {
		return unavailable(ReasonOverloaded, "storage is overloaded")
	}
	defer o.inflight.leave(n)
	defer func() {
		if v := recover(); v != nil {
			o.metrics.panics.Inc()
			o.logger.Error("storage panicked in a write", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			reply = unavailable(ReasonStorage, "internal error")
		}
	}()
	return o.writer.Write(ctx, b, part)
}
