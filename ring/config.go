// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// defaultRejoinInterval: memberlist alone never heals a partition that lasted
	// longer than about 35 s; with this loop it is whole within one interval.
	defaultRejoinInterval = 10 * time.Second
	// defaultForgetAfter is longer than a reboot or a rescheduled pod takes.
	defaultForgetAfter = 30 * time.Minute
	// defaultForgottenRetention is the default local retention: what a forgotten
	// member held longer ago than that, no member would still hold either.
	defaultForgottenRetention = 24 * time.Hour
	labelBytesMax             = memberlist.LabelMaxSize
)

// Config is what a member needs to join its cluster.
type Config struct {
	// Identity is that of the data directory; see LoadIdentity.
	Identity Identity
	// Newcomer is set until the data directory has been introduced; see Introducer.
	Newcomer bool
	// Zone is the failure domain of this member; empty if there is only one.
	Zone string
	// BindAddr is the host:port for gossip, TCP and UDP. Port 0 picks a free one.
	BindAddr string
	// AdvertiseAddr is the host or host:port at which other members reach BindAddr;
	// empty if it is the same, or the private address of this machine.
	AdvertiseAddr string
	// InternalAddr and HTTPAddr are the listeners that members and humans use. If
	// the host is missing or unspecified, the advertised one takes its place.
	InternalAddr, HTTPAddr string
	// Label keeps clusters apart that could reach each other by mistake.
	Label string
	// Key of 16, 24 or 32 bytes encrypts gossip (AES-GCM); nil leaves it in the
	// clear. See ParseKey.
	Key []byte
	// Peers are where to find other members: host:port, dns+name:port for all
	// addresses of a name, dnssrv+name for SRV records. May include this member.
	Peers []string
	// Settings must be the same on all members.
	Settings Settings
	// Dir holds the file of last-known members; it is created if missing.
	Dir string

	// RejoinInterval is the pause between attempts to reach members that are
	// missing; default 10 s.
	RejoinInterval time.Duration
	// ForgetAfter is how long a member must be dead to lose its slots; default 30 m.
	ForgetAfter time.Duration
	// ForgottenRetention is how long a forgotten member stays listed after it was
	// last seen; default 24 h, the default local retention.
	ForgottenRetention time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time

	// tune changes memberlist's timers in tests.
	tune func(*memberlist.Config)
	// nameWait is defaultNameWait but in tests.
	nameWait time.Duration
	// dns resolves peers; net.DefaultResolver's settings unless a test replaces it.
	dns resolver
}

// resolver is the part of net.Resolver that peers need.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

func (c Config) withDefaults() Config {
	if c.RejoinInterval == 0 {
		c.RejoinInterval = defaultRejoinInterval
	}
	if c.ForgetAfter == 0 {
		c.ForgetAfter = defaultForgetAfter
	}
	if c.ForgottenRetention == 0 {
		c.ForgottenRetention = defaultForgottenRetention
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.dns == nil {
		c.dns = &net.Resolver{}
	}
	if c.nameWait == 0 {
		c.nameWait = defaultNameWait
	}
	c.Settings = c.Settings.withDefaults()
	return c
}

func (c Config) validate() error {
	if err := c.Settings.validate(); err != nil {
		return err
	}
	if c.Key != nil && !validKeyLength(len(c.Key)) {
		return keyLengthError(len(c.Key))
	}
	if len(c.Label) > labelBytesMax {
		return fmt.Errorf("cluster label has %d bytes, at most %d are possible; set a shorter --cluster.label", len(c.Label), labelBytesMax)
	}
	if c.RejoinInterval < 0 || c.ForgetAfter < 0 || c.ForgottenRetention < 0 {
		return errors.New("negative interval in the cluster config")
	}
	if c.Dir == "" {
		return errors.New("no directory for the last-known members")
	}
	for _, p := range c.Peers {
		if _, err := parsePeer(p); err != nil {
			return err
		}
	}
	return nil
}
