// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"regexp"
)

// defaultTenant is the tenant of requests that name none. It has the name of
// Thanos' default, so that a bucket can move between the two.
const defaultTenant = "default-tenant"

// A tenant is a directory name, a label value and part of URLs.
var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// namesTenant tells whether r says whose it is.
func namesTenant(r *http.Request) bool {
	return r.Header.Get("X-Scope-OrgID") != "" || r.Header.Get("THANOS-TENANT") != ""
}

// tenantOf returns the tenant that r names in Mimir's or in Thanos' header.
func tenantOf(r *http.Request) (string, error) {
	mimir, thanos := r.Header.Get("X-Scope-OrgID"), r.Header.Get("THANOS-TENANT")
	tenant := mimir
	switch {
	case mimir == "" && thanos == "":
		return defaultTenant, nil
	case mimir == "":
		tenant = thanos
	case thanos != "" && thanos != mimir:
		return "", fmt.Errorf("the headers X-Scope-OrgID and THANOS-TENANT name different tenants; send one of them")
	}
	if !tenantPattern.MatchString(tenant) {
		return "", fmt.Errorf("tenant id %.80q must match [A-Za-z0-9_-]{1,64}", tenant)
	}
	return tenant, nil
}
