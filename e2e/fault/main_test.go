// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package fault harms a running cluster in every way that it has to survive, one member at a time and repaired before
// the next, and then counts what became of every sample. It is a process of its own among the end-to-end tests because
// it lives in namespaces.
package fault

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

var (
	full = flag.Bool("fault.full", false, "Every fault as often as a release needs it, which takes an hour.")
	only = flag.String("fault.only", "", "Run only the phase of this name.")
	seed = flag.Uint64("fault.seed", uint64(time.Now().UnixNano()), "Seed of what is chosen at random.")
)

// Set before any test runs and not changed after.
var (
	env *harness.Env
	// notIsolated says why there are no namespaces here.
	notIsolated error
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	// Before the network is left behind: what is not built yet is downloaded.
	if env, err = harness.NewEnv(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "prepare the fault tests: %v\n", err)
		os.Exit(1)
	}
	notIsolated = harness.Isolate()
	os.Exit(m.Run())
}
