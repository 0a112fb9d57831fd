// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the stories that a user of Penstock lives through, on real parts; see package harness for the parts.
package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
)

// env is set before any test runs and not changed after.
var env *harness.Env

func TestMain(m *testing.M) {
	if url := os.Getenv(senderVariable); url != "" {
		os.Exit(send(url, os.Getenv(senderSeriesVariable)))
	}
	var err error
	if env, err = harness.NewEnv(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "prepare the end-to-end tests: %v\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
