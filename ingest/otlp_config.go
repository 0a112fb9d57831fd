// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"strings"

	"github.com/prometheus/otlptranslator"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.yaml.in/yaml/v2"
)

// ParseOTLP reads how OTLP is translated: the keys of the section otlp of Prometheus'
// configuration, with its defaults for those that are not given. An unknown key is an
// error that names it.
func ParseOTLP(text []byte) (promconfig.OTLPConfig, error) {
	cfg := promconfig.DefaultOTLPConfig
	if err := yaml.UnmarshalStrict(text, &cfg); err != nil {
		// The parser lists what is wrong line by line.
		return promconfig.OTLPConfig{}, fmt.Errorf("cannot parse: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	switch cfg.TranslationStrategy {
	case "":
		cfg.TranslationStrategy = promconfig.DefaultOTLPConfig.TranslationStrategy
	case otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes,
		otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation:
	default:
		return promconfig.OTLPConfig{}, fmt.Errorf("unsupported translation_strategy %q; use %s, %s, %s or %s", cfg.TranslationStrategy,
			otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes,
			otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation)
	}
	return cfg, nil
}

// otlpSettings are the converter's settings, as Prometheus derives them. What Prometheus
// puts behind a feature flag is off.
func otlpSettings(cfg promconfig.OTLPConfig) prometheusremotewrite.Settings {
	return prometheusremotewrite.Settings{
		AddMetricSuffixes:                    cfg.TranslationStrategy.ShouldAddSuffixes(),
		AllowUTF8:                            !cfg.TranslationStrategy.ShouldEscape(),
		PromoteResourceAttributes:            prometheusremotewrite.NewPromoteResourceAttributes(cfg),
		KeepIdentifyingResourceAttributes:    cfg.KeepIdentifyingResourceAttributes,
		ConvertHistogramsToNHCB:              cfg.ConvertHistogramsToNHCB,
		PromoteScopeMetadata:                 cfg.PromoteScopeMetadata,
		LookbackDelta:                        2 * otlpTargetInterval,
		LabelNameUnderscoreSanitization:      cfg.LabelNameUnderscoreSanitization,
		LabelNamePreserveMultipleUnderscores: cfg.LabelNamePreserveMultipleUnderscores,
	}
}
