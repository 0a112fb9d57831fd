// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
)

// TestNginx: behind nginx, which looks after the nodes only by the requests that fail, a pair of senders loses nothing
// when a node dies, and users get every answer.
func TestNginx(t *testing.T) {
	s := &story{t: t, cluster: env.NewCluster(t, harness.ClusterConfig{Nodes: 3})}
	s.cluster.Start()
	s.proxy = env.StartNginx(t, harness.Loopback(env.FreePort(t)), s.cluster.Addresses())
	s.startPair()
	s.everythingScraped()
	s.from = s.passes(switchSettles)

	victim, survivors := s.cluster.Nodes[0], s.cluster.Nodes[1:]
	ask := append(apis(survivors), s.proxy.API)
	s.passes(afterwards)
	watch := s.watchQueries(ask)
	victim.Process.Kill()
	s.complete(s.from, s.passes(outage), ask...)
	watch.stop()
	s.nothingLost()
}
