// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// Retention is how long blocks are kept in the bucket, by resolution, counted from their newest sample. 0 is for ever.
type Retention struct {
	Raw         time.Duration
	FiveMinutes time.Duration
	OneHour     time.Duration
}

// Of returns what holds for a resolution in ms. What is neither 5m nor 1h is kept for ever: nobody said anything about it.
func (r Retention) Of(resolution int64) time.Duration {
	switch resolution {
	case 0:
		return r.Raw
	case downsample.FiveMinutes:
		return r.FiveMinutes
	case downsample.OneHour:
		return r.OneHour
	default:
		return 0
	}
}

// RetentionRules say what is kept for how long.
type RetentionRules struct {
	Now time.Time
	// Of returns the retention of a tenant.
	Of func(tenant string) Retention
	// DefaultTenant is whose a block is that has no tenant.
	DefaultTenant string
	// Foreign: blocks with external labels that Penstock does not write expire as well.
	Foreign bool
}

// Expiry is a block that is past its retention.
type Expiry struct {
	Block     bucket.Listed
	Tenant    string
	Retention time.Duration
}

// Details is what the deletion mark says.
func (e Expiry) Details() string {
	end := time.UnixMilli(e.Block.Meta.MaxTime).UTC().Format(time.RFC3339)
	return fmt.Sprintf("past the retention of %s of tenant %s: ends %s", e.Retention, e.Tenant, end)
}

// Expired returns the blocks that are past retention as a whole and have no deletion mark yet, in the order of blocks. It is
// a function of its arguments.
func Expired(blocks []bucket.Listed, rules RetentionRules) []Expiry {
	var found []Expiry
	for _, b := range blocks {
		g := groupOf(b.Meta)
		if b.Marks.Deletion != nil || (g.Foreign && !rules.Foreign) {
			continue
		}
		tenant := g.Tenant
		if tenant == "" {
			tenant = rules.DefaultTenant
		}
		keep := rules.Of(tenant).Of(g.Resolution)
		if keep > 0 && b.Meta.MaxTime <= rules.Now.Add(-keep).UnixMilli() {
			found = append(found, Expiry{Block: b, Tenant: tenant, Retention: keep})
		}
	}
	return found
}
