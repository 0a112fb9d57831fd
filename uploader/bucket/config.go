// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	yaml "go.yaml.in/yaml/v2"
)

// The bucket types of Thanos' objstore.config that Penstock has drivers for.
const (
	TypeS3         = "S3"
	TypeFilesystem = "FILESYSTEM"
	TypeAliyunOSS  = "ALIYUNOSS"
)

// Config is a parsed objstore.config file. Exactly one of the type sections is set. Printing or marshalling it shows no
// secret.
type Config struct {
	Type       string            // One of the Type constants.
	Prefix     string            // Put before every key, without slashes at its ends.
	S3         *S3Config         // For TypeS3 and TypeAliyunOSS, which is reached through its S3-compatible endpoint.
	Filesystem *FilesystemConfig // For TypeFilesystem.
	Warnings   []string          // Keys that were accepted and do nothing; Open logs them.
}

// FilesystemConfig is the config section of type FILESYSTEM.
type FilesystemConfig struct {
	Directory string `yaml:"directory"`
}

// ParseConfig reads Thanos' objstore.config YAML. An error is one line that names the cause: the key, the section it is in,
// and what would be right there.
func ParseConfig(content []byte) (Config, error) {
	cfg, err := parseConfig(content)
	if err != nil {
		return Config{}, fmt.Errorf("objstore config: %w", err)
	}
	return cfg, nil
}

func parseConfig(content []byte) (Config, error) {
	// The type decides what the config section may hold, so that it is decoded twice.
	var peek struct {
		Type   string `yaml:"type"`
		Prefix string `yaml:"prefix"`
	}
	if err := yaml.Unmarshal(content, &peek); err != nil {
		return Config{}, yamlError(err)
	}
	cfg := Config{Type: strings.ToUpper(peek.Type), Prefix: strings.Trim(peek.Prefix, "/")}
	if cfg.Prefix != "" {
		if err := ValidateKey(cfg.Prefix); err != nil {
			return Config{}, fmt.Errorf("key %q: %w", "prefix", err)
		}
	}
	var err error
	switch cfg.Type {
	case TypeS3:
		cfg.S3, cfg.Warnings, err = parseS3(content)
	case TypeAliyunOSS:
		cfg.S3, err = parseAliyun(content)
	case TypeFilesystem:
		cfg.Filesystem, err = parseFilesystem(content)
	case "":
		err = fmt.Errorf("key %q is missing; set it to one of %s", "type", knownTypes)
	default:
		err = fmt.Errorf("type %q is not supported; supported types are %s", peek.Type, knownTypes)
	}
	if err != nil {
		return Config{}, err
	}
	return cfg, nil
}

func parseFilesystem(content []byte) (*FilesystemConfig, error) {
	cfg := &FilesystemConfig{}
	if _, err := decodeFile(content, cfg); err != nil {
		return nil, err
	}
	if cfg.Directory == "" {
		return nil, missingKey("directory", "config", "the directory that holds the objects")
	}
	return cfg, nil
}

const knownTypes = TypeS3 + ", " + TypeFilesystem + ", " + TypeAliyunOSS

func missingKey(key, section, what string) error {
	return fmt.Errorf("key %q in section %q is missing: %s", key, section, what)
}

// Open returns the bucket that cfg describes, under its prefix and with metrics on reg (nil for none). It makes no request:
// whether the store answers and the credentials are good shows at the first operation.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (Bucket, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	for _, w := range cfg.Warnings {
		logger.Warn("objstore config", "warning", w)
	}
	var b Bucket
	var err error
	switch {
	case cfg.S3 != nil:
		b, err = NewS3(*cfg.S3)
	case cfg.Filesystem != nil:
		b, err = NewFilesystem(cfg.Filesystem.Directory)
	default:
		err = errors.New("open bucket: the configuration has neither an S3 nor a filesystem section")
	}
	if err != nil {
		return nil, err
	}
	return Instrument(WithPrefix(b, cfg.Prefix), reg), nil
}
