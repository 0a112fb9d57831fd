// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/querier/order"
)

// inOrder puts series in the order of their labels.
//
// The engine wants no order, but shows the one that there is: in the rows of an instant query, in which of several equals topk takes, and
// in the last bits of a sum. Members have series in the order in which each was told of them, and not all have the same series. So without this the
// answer would depend on who was asked, and on who is up. The order of labels is the one that a Prometheus has as well, for what is in blocks.
//
// Members need not sort for that. It costs little where they have series by and by in this order, as from blocks.
func inOrder(all []*series) []*series {
	indices := order.Of(len(all), func(i int) labels.Labels { return all[i].lset })
	if indices == nil {
		return all
	}
	sorted := make([]*series, len(all))
	for rank, i := range indices {
		sorted[rank] = all[i]
	}
	return sorted
}
