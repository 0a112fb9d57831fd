// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-sockaddr"
	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"

	"github.com/penstock-io/penstock/ring"
)

const (
	// Requests between two members at once. More would only queue in the kernel;
	// idle ones are kept so that a burst does not start with handshakes.
	peerConnsMax = 64

	// A request of 2,000 samples is about 60 KiB, which leaves in one write. With the
	// 4 KiB of net/http it takes many, and a buffer of 32 KiB for each request.
	peerWriteBuffer = 128 << 10

	// A goodbye takes half a second where somebody hears it.
	leaveTimeout = 2 * time.Second
)

// openRing makes this node a member: of a cluster of one, or of the cluster
// whose seeds it was given. It does not join yet.
func (s *server) openRing() error {
	cfg := &s.cfg.cluster
	if err := s.openPeerClient(); err != nil {
		return err
	}
	self := ring.Member{
		Name:       s.identity.Name,
		Zone:       cfg.zone,
		State:      ring.Joining,
		HTTPAddr:   s.public.addr(),
		Generation: s.identity.Generation,
	}
	if err := s.openIntroduction(); err != nil {
		return err
	}
	if !s.cfg.clustered() {
		if err := s.checkAlone(); err != nil {
			return err
		}
		s.introduction.done.Store(true) // The file stays for when it becomes a member.
		self.InternalAddr = s.internal.addr()
		s.members = ring.NewStatic(self, cfg.replicationFactor)
		return nil
	}
	// No private address is not an error yet: a flag may give one.
	private, _ := sockaddr.GetPrivateIP()
	addr, err := internalAddr(cfg.advertiseAddress, s.internal.addr(), private)
	if err != nil {
		return err
	}
	s.cluster, err = ring.NewCluster(ring.Config{
		Identity:      s.identity,
		Newcomer:      !s.introduction.done.Load(),
		Zone:          cfg.zone,
		BindAddr:      cfg.listenAddress,
		AdvertiseAddr: cfg.advertiseAddress,
		InternalAddr:  addr,
		HTTPAddr:      s.public.addr(),
		Label:         cfg.label,
		Key:           s.clusterKey,
		Peers:         cfg.peers,
		Settings: ring.Settings{
			RF:               cfg.replicationFactor,
			OutOfOrderWindow: time.Duration(s.cfg.storage.outOfOrderWindow),
			BlockDuration:    time.Duration(s.cfg.storage.blockDuration),
		},
		Dir:         s.clusterDir(),
		ForgetAfter: time.Duration(cfg.forgetAfter),
		// What a forgotten member served is past retention after this.
		ForgottenRetention: time.Duration(s.cfg.storage.retention),
	}, s.logger.With("component", "ring"), s.reg)
	if err != nil {
		return err
	}
	s.members = s.cluster
	s.redundant = newRedundancyGauge(s.reg)
	s.onStop("leave cluster", func() error { return s.cluster.Leave(leaveTimeout) })
	if cfg.replicationFactor == 2 {
		s.logger.Warn("with --cluster.replication-factor=2 both owners must take a write: one member down stops writes of the series that it owns; use 3 for availability")
	}
	return nil
}

// checkAlone refuses to make a cluster of one of a member of a larger cluster. It would
// take its share for everything in each answer, and acknowledge with one copy.
func (s *server) checkAlone() error {
	dir := s.clusterDir()
	peers, err := ring.LastKnownPeers(dir, s.identity.Name)
	if err != nil {
		return err
	}
	if len(peers) == 0 {
		return nil
	}
	const shown = 5
	names := strings.Join(peers[:min(shown, len(peers))], ", ")
	return fmt.Errorf("the data in %s belongs to a cluster of %d members (%s): give the same --cluster.peer as there, or remove %s to go on alone with what is here", s.cfg.storage.path, len(peers)+1, names, dir)
}

func (s *server) clusterDir() string { return filepath.Join(s.cfg.storage.path, "cluster") }

// openPeerClient builds the HTTP client towards the other members: it signs
// with the cluster key and, with TLS on the internal listener, presents this
// member's certificate.
func (s *server) openPeerClient() error {
	var err error
	if s.cfg.cluster.keyFile != "" {
		raw, err := os.ReadFile(s.cfg.cluster.keyFile)
		if err != nil {
			return fmt.Errorf("--cluster.key-file: %w", err)
		}
		if s.clusterKey, err = ring.ParseKey(raw); err != nil {
			return fmt.Errorf("--cluster.key-file=%s: %w", s.cfg.cluster.keyFile, err)
		}
	}
	s.auth = ring.NewAuth(s.clusterKey, s.identity.Name, s.reg)

	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxConnsPerHost:     peerConnsMax,
		MaxIdleConnsPerHost: peerConnsMax,
		IdleConnTimeout:     2 * time.Minute,
		WriteBufferSize:     peerWriteBuffer,
		// Bodies are compressed where that pays; the transport must not do it again.
		DisableCompression: true,
	}
	s.scheme = "http"
	if s.cfg.internal.configFile != "" {
		if transport.TLSClientConfig, err = peerTLS(s.cfg.internal.configFile); err != nil {
			return fmt.Errorf("--internal.config.file=%s: %w", s.cfg.internal.configFile, err)
		}
		if transport.TLSClientConfig != nil {
			s.scheme = "https"
		}
	}
	s.client = &http.Client{
		Transport: s.auth.RoundTripper(transport),
		// A member never redirects; following one would sign for a stranger.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("a member must not redirect")
		},
	}
	return nil
}

// peerTLS turns the server side of an exporter-toolkit file into the client
// side: members trust its client_ca_file and present its certificate. It is nil
// when the file has no TLS section.
func peerTLS(file string) (*tls.Config, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cfg web.Config
	if err := yaml.Unmarshal(raw, &cfg); err != nil {
		return nil, err
	}
	cfg.TLSConfig.SetDirectory(filepath.Dir(file))
	if !cfg.TLSConfig.IsEnabled() {
		return nil, nil
	}
	server, err := web.ConfigToTLSConfig(&cfg.TLSConfig)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS12,
		RootCAs:              server.ClientCAs, // nil: the system's
		GetClientCertificate: clientCertificate(server),
	}, nil
}

func clientCertificate(server *tls.Config) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if server.GetCertificate == nil {
			return &tls.Certificate{}, nil
		}
		return server.GetCertificate(&tls.ClientHelloInfo{})
	}
}
