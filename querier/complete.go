// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

// quorum returns W, the number of owners that must hold a sample before it is
// acknowledged.
func quorum(rf int) int { return rf/2 + 1 }

// complete reports whether an answer without the members for which missing[i] is
// true still holds every acknowledged sample. It is pure.
//
// A sample is acknowledged by W of its RF owners, so with at most RF-W members
// missing at least one of these has answered. Owners lie in different zones as
// long as there are RF zones; then a whole zone may be missing, because it holds
// at most one of the W >= 2 copies. With RF 1 there is no second copy and no member
// may be missing.
//
// A node that knows fewer than W members cannot judge: whatever was ever
// acknowledged was acknowledged by at least one member that it has not heard of.
func complete(members []Member, rf int, missing []bool) bool {
	w := quorum(rf)
	if len(members) < w {
		return false
	}
	zones := map[string]struct{}{}
	zonesMissing := map[string]struct{}{}
	n := 0
	for i, m := range members {
		zones[m.Zone] = struct{}{}
		if missing[i] {
			zonesMissing[m.Zone] = struct{}{}
			n++
		}
	}
	if n <= rf-w {
		return true
	}
	return w >= 2 && len(zones) >= rf && len(zonesMissing) == 1
}
