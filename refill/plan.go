// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"cmp"
	"slices"
)

// unit is the smallest thing that is done or not: a stretch of one block range of
// one tenant.
type unit struct {
	tenant     string
	mint, maxt int64 // [mint, maxt), within one block range.
	losses     []string
}

// done is a record of the progress file: this part of the tenant's series in
// [MinTime, MaxTime) has been refilled, as far as these losses go.
type done struct {
	Tenant  string   `json:"tenant"`
	MinTime int64    `json:"minTime"`
	MaxTime int64    `json:"maxTime"`
	Part    int      `json:"part"`
	Parts   int      `json:"parts"`
	Losses  []string `json:"losses"`
}

// covers tells whether the record vouches for a stretch of a tenant and a loss.
func (d done) covers(tenant string, mint, maxt int64, loss string) bool {
	return d.Tenant == tenant && d.MinTime <= mint && d.MaxTime >= maxt && slices.Contains(d.Losses, loss)
}

// planUnits returns what is to be done for the losses, newest ranges first and
// tenants in order within a range: a dashboard of the last hours is whole soonest.
//
// Losses are clamped to [from, to), where samples can be, and cut at multiples of width, because
// no block may reach over the end of a block range. What several losses want of one
// range is one unit. It is pure.
func planUnits(losses []Loss, tenants []string, records []done, from, to, width int64) []unit {
	type key struct {
		window int64
		tenant string
	}
	units := map[key]*unit{}
	want := func(l Loss, tenant string, mint, maxt int64) {
		if allPartsDone(records, tenant, mint, maxt, l.ID) {
			return
		}
		k := key{floorDiv(mint, width), tenant}
		u := units[k]
		if u == nil {
			u = &unit{tenant: tenant, mint: mint, maxt: maxt}
			units[k] = u
		}
		u.mint, u.maxt = min(u.mint, mint), max(u.maxt, maxt)
		u.losses = append(u.losses, l.ID)
	}
	for _, l := range losses {
		of := tenants
		if l.Tenant != "" {
			of = []string{l.Tenant}
		}
		end := min(l.MaxTime, to)
		for mint := max(l.MinTime, from); mint < end; {
			maxt := min(end, (floorDiv(mint, width)+1)*width)
			for _, tenant := range of {
				want(l, tenant, mint, maxt)
			}
			mint = maxt
		}
	}
	plan := make([]unit, 0, len(units))
	for _, u := range units {
		slices.Sort(u.losses)
		u.losses = slices.Compact(u.losses)
		plan = append(plan, *u)
	}
	slices.SortFunc(plan, func(a, b unit) int {
		return cmp.Or(cmp.Compare(floorDiv(b.mint, width), floorDiv(a.mint, width)), cmp.Compare(a.tenant, b.tenant))
	})
	return plan
}

// allPartsDone tells whether the records cover all parts of a stretch for a loss.
func allPartsDone(records []done, tenant string, mint, maxt int64, loss string) bool {
	var covering []done
	parts := 0
	for _, d := range records {
		if d.covers(tenant, mint, maxt, loss) {
			covering = append(covering, d)
			parts = max(parts, d.Parts)
		}
	}
	for part := range parts {
		if !slices.ContainsFunc(covering, func(d done) bool { return d.includes(part, parts) }) {
			return false
		}
	}
	return parts > 0
}

// partDone tells whether the records have a part of a unit for all of its losses.
func partDone(records []done, u unit, part, parts int) bool {
	return !slices.ContainsFunc(u.losses, func(loss string) bool {
		return !slices.ContainsFunc(records, func(d done) bool {
			return d.covers(u.tenant, u.mint, u.maxt, loss) && d.includes(part, parts)
		})
	})
}

// includes tells whether the record's part has all series of another division's part.
func (d done) includes(part, parts int) bool {
	return parts%d.Parts == 0 && part%d.Parts == d.Part
}

// keepOnly drops records of losses that are no more.
func keepOnly(records []done, losses []Loss) []done {
	var kept []done
	for _, d := range records {
		d.Losses = slices.DeleteFunc(slices.Clone(d.Losses), func(id string) bool {
			return !slices.ContainsFunc(losses, func(l Loss) bool { return l.ID == id })
		})
		if len(d.Losses) > 0 {
			kept = append(kept, d)
		}
	}
	return kept
}

// floorDiv is a/b rounded down, for times before 1970 too.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
