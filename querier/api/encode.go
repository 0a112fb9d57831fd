// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// encodeByTurns makes answers be encoded when turn gives leave: a large one takes seconds of a core.
func encodeByTurns(prometheus *v1.API, turn func(context.Context) (func(), error)) {
	if turn == nil {
		return
	}
	prometheus.ClearCodecs()
	prometheus.InstallCodec(turnCodec{turn: turn})
}

type turnCodec struct {
	v1.JSONCodec
	turn func(context.Context) (func(), error)
}

// Encode implements v1.Codec, which is given no context.
func (c turnCodec) Encode(resp *v1.Response) ([]byte, error) {
	done, err := c.turn(context.Background())
	if err != nil {
		return nil, err
	}
	defer done()
	return c.JSONCodec.Encode(resp)
}
