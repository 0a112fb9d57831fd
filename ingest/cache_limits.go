// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// tenantUnder returns the part of a tenant for requests that have to pass the given
// limits. A hit says that a series passed them before, so that a part with entries that
// passed looser ones only is dropped: it is filled again by the next requests.
func (c *SeriesCache) tenantUnder(name string, limits seriesLimits) *tenantCache {
	for {
		t := c.tenant(name)
		if t == nil {
			return nil
		}
		have := t.passed.Load()
		if have != nil && *have == limits {
			return t
		}
		if have != nil && !have.within(limits) {
			c.drop(name, t)
			continue
		}
		// What is in it is fine; what this request adds may have passed no more than
		// these limits.
		looser := limits
		if t.passed.CompareAndSwap(have, &looser) {
			return t
		}
	}
}

// drop forgets the part t of a tenant. Requests that hold it finish with it.
func (c *SeriesCache) drop(name string, t *tenantCache) {
	if !c.tenants.CompareAndDelete(name, t) {
		return
	}
	c.named.Add(-1)
	for i := range t.shards {
		t.shards[i].drop()
	}
}
