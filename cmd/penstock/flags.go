// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"

	"github.com/penstock-io/penstock/querier/blockstore"
	"github.com/penstock-io/penstock/refill"
	"github.com/penstock-io/penstock/tsdbstore"
)

// config is everything that an operator can set on one node. The zero value is
// not usable; addNodeFlags fills in the defaults.
type config struct {
	web      webConfig
	internal internalConfig
	storage  storageConfig
	ingest   ingestConfig
	cluster  clusterConfig
	objstore objstoreConfig
	query    queryConfig
	limits   limitsConfig
	compact  compactConfig
	election electionConfig
	senders  sendersConfig
	otlp     otlpConfig
	log      promslog.Config

	// What tests change of a refill: how long it waits (0: its default), and whom it asks.
	refillSettle time.Duration
	refillSource func(refill.Source) refill.Source

	// flags holds every flag as text, for /api/v1/status/flags.
	flags map[string]string
}

type webConfig struct {
	listenAddress   string
	configFile      string
	externalURL     string
	routePrefix     string
	corsOrigin      string
	enableLifecycle bool
}

type internalConfig struct {
	listenAddress string
	configFile    string
}

type storageConfig struct {
	path             string
	retention        model.Duration
	outOfOrderWindow model.Duration
	blockDuration    model.Duration
	walSync          string
	minFreeBytes     units.Base2Bytes
}

type clusterConfig struct {
	name              string
	zone              string
	listenAddress     string
	advertiseAddress  string
	peers             []string
	label             string
	keyFile           string
	insecure          bool
	replicationFactor int
	forgetAfter       model.Duration
}

type objstoreConfig struct {
	configFile string
	config     string
}

type limitsConfig struct {
	configFile string
}

type queryConfig struct {
	replicaLabels []string
	timeout       model.Duration
	maxSamples    int
	blockCache    units.Base2Bytes
	maxBlockBytes units.Base2Bytes

	autoDownsampling bool
	limits           queryLimitsConfig

	cacheBytes units.Base2Bytes

	readSamples, readsAtOnce, readFrameBytes int // Of remote read.
}

type otlpConfig struct{ configFile string }

// addNodeFlags declares the flags of a node on cmd. The names are those that
// users of Prometheus, Alertmanager and Thanos know.
func addNodeFlags(cmd *kingpin.CmdClause) *config {
	cfg := &config{}
	addWebFlags(cmd, cfg)
	addStorageFlags(cmd, cfg)
	addIngestFlags(cmd, cfg)
	addClusterFlags(cmd, &cfg.cluster)
	addElectionFlags(cmd, &cfg.election)
	addCompactFlags(cmd, &cfg.compact)
	addSenderFlags(cmd, &cfg.senders)
	addReadFlags(cmd, cfg)

	cmd.Flag("objstore.config-file", "File with the object storage configuration in Thanos' objstore YAML. Without it a lone node keeps blocks in a directory below --storage.path and a cluster keeps none.").
		PlaceHolder("FILE").StringVar(&cfg.objstore.configFile)
	cmd.Flag("objstore.config", "The same YAML, inline. Excludes --objstore.config-file.").
		PlaceHolder("YAML").StringVar(&cfg.objstore.config)

	cmd.Flag("query.replica-label", "Label that tells the replicas of an HA Prometheus pair apart; dropped by deduplication. Repeatable.").
		Default("prometheus_replica", "__replica__").StringsVar(&cfg.query.replicaLabels)
	cmd.Flag("query.timeout", "Longest time one query may take.").
		Default("2m").SetValue(&cfg.query.timeout)
	cmd.Flag("query.max-samples", "Most samples one query may hold in memory.").
		Default("50000000").IntVar(&cfg.query.maxSamples)
	cmd.Flag(blockstore.FlagMaxBytes, "Most bytes of parts of bucket blocks that are kept on disk for queries.").
		Default("10GiB").BytesVar(&cfg.query.blockCache)
	cmd.Flag(blockstore.FlagMaxQueryBytes, "Most bytes of bucket blocks that one query may read, kept on disk or not.").
		Default("1GiB").BytesVar(&cfg.query.maxBlockBytes)
	cmd.Flag("query.auto-downsampling", "Read samples up to a fifth of the step apart where queries do not say max_source_resolution.").
		BoolVar(&cfg.query.autoDownsampling)
	addQueryLimitFlags(cmd, &cfg.query.limits)
	addQueryCacheFlags(cmd, &cfg.query)

	cmd.Flag("limits.config-file", "File with the limits of this node and of each tenant; read again on SIGHUP and POST /-/reload.").
		PlaceHolder("FILE").StringVar(&cfg.limits.configFile)
	cmd.Flag("otlp.config-file", "File with the keys of the section otlp of Prometheus' configuration: how OTLP metrics are translated. Without it, Prometheus' defaults.").
		PlaceHolder("FILE").StringVar(&cfg.otlp.configFile)

	cfg.log.Level = promslog.NewLevel()
	cfg.log.Format = promslog.NewFormat()
	cmd.Flag("log.level", "Least severity that is logged: debug, info, warn or error.").
		Default("info").SetValue(cfg.log.Level)
	cmd.Flag("log.format", "Format of log lines: logfmt or json.").
		Default("logfmt").SetValue(cfg.log.Format)
	return cfg
}

func addWebFlags(cmd *kingpin.CmdClause, cfg *config) {
	cmd.Flag("web.listen-address", "Address of the public listener: remote write, queries, metrics.").
		Default("0.0.0.0:9009").StringVar(&cfg.web.listenAddress)
	cmd.Flag("web.config.file", "TLS and basic auth of the public listener, in the Prometheus exporter-toolkit format.").
		PlaceHolder("FILE").StringVar(&cfg.web.configFile)
	cmd.Flag("web.external-url", "URL under which users reach this node; its path is the prefix of every endpoint.").
		PlaceHolder("URL").StringVar(&cfg.web.externalURL)
	cmd.Flag("web.enable-lifecycle", "Serve /-/reload, /-/flush and /debug/pprof on the public listener too, not only on the internal one.").
		BoolVar(&cfg.web.enableLifecycle)
	cmd.Flag("internal.listen-address", "Address of the listener for the other members. Default 0.0.0.0:9095, or 127.0.0.1:9095 without --cluster.peer.").
		PlaceHolder("ADDR").StringVar(&cfg.internal.listenAddress)
	cmd.Flag("internal.config.file", "TLS of the internal listener, in the exporter-toolkit format. Members use its certificate towards each other and trust its client_ca_file.").
		PlaceHolder("FILE").StringVar(&cfg.internal.configFile)
}

func addStorageFlags(cmd *kingpin.CmdClause, cfg *config) {
	cmd.Flag("storage.path", "Directory for everything this node keeps.").
		Default("data").StringVar(&cfg.storage.path)
	cfg.storage.retention = model.Duration(24 * time.Hour)
	cmd.Flag("storage.retention.time", "How long blocks stay on this node after they are in the bucket.").
		Default("24h").SetValue(&cfg.storage.retention)
	cmd.Flag("storage.out-of-order-window", "How far behind the newest sample of a tenant a sample may be. Must be the same on all members.").
		Default("2h").SetValue(&cfg.storage.outOfOrderWindow)
	cmd.Flag("storage.block-duration", "Time range of a block. Shorter than 2h is for demos and tests. Must be the same on all members.").
		Default("2h").SetValue(&cfg.storage.blockDuration)
	cmd.Flag("storage.wal-sync", "When the write-ahead log and hints are synced to disk: none (when the kernel does; a power cut can lose the last seconds of a node) or commit (before each acknowledgement).").
		Default(tsdbstore.WALSyncNone).EnumVar(&cfg.storage.walSync, tsdbstore.WALSyncNone, tsdbstore.WALSyncCommit)
	cmd.Flag("storage.min-free-bytes", "Free space below which writes are answered 503, so that no write fails half-way. 0: no such mark.").
		Default("512MiB").BytesVar(&cfg.storage.minFreeBytes)
}

func addClusterFlags(cmd *kingpin.CmdClause, c *clusterConfig) {
	cmd.Flag("cluster.name", "Stable name of this member, kept in --storage.path. Default: the hostname at the first start.").
		PlaceHolder("NAME").StringVar(&c.name)
	cmd.Flag("cluster.zone", "Failure zone of this member; the copies of a series go to distinct zones while there are enough.").
		PlaceHolder("ZONE").StringVar(&c.zone)
	cmd.Flag("cluster.listen-address", "Address for gossip, TCP and UDP.").
		Default("0.0.0.0:7946").StringVar(&c.listenAddress)
	cmd.Flag("cluster.advertise-address", "host:port under which the other members reach this one's gossip; its host is also that of the internal listener.").
		PlaceHolder("ADDR").StringVar(&c.advertiseAddress)
	cmd.Flag("cluster.peer", "host:port of a member, or dns+NAME:PORT, or dnssrv+NAME. Repeatable; give every member the same list, itself included.").
		PlaceHolder("ADDR").StringsVar(&c.peers)
	cmd.Flag("cluster.label", "Name of the cluster; members with another label are refused.").
		Default("penstock").StringVar(&c.label)
	cmd.Flag("cluster.key-file", "File with the cluster's secret key: 16, 24 or 32 bytes, raw or base64.").
		PlaceHolder("FILE").StringVar(&c.keyFile)
	cmd.Flag("cluster.insecure", "Run a cluster without a key: anyone who reaches its ports can join it and write to it.").
		BoolVar(&c.insecure)
	cmd.Flag("cluster.replication-factor", "Members that keep each series, 1 to 5. Default 3 with --cluster.peer, else 1. Must be the same on all members.").
		PlaceHolder("N").IntVar(&c.replicationFactor)
	cmd.Flag("cluster.forget-after", "How long a dead member keeps its slots.").
		Default("30m").SetValue(&c.forgetAfter)
}
