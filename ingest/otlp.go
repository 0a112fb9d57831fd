// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// NewHandlers returns the public write handlers: that of NewHandler, and one for OTLP
// metrics, which are translated as Prometheus translates them:
//
//	body -> gunzip -> survey -> decode -> sift -> Prometheus' converter
//	                                                    |
//	               otlpCollector, an appender: series in 1.0 form -> Batch -> Writer
//
// Survey bounds what the body makes the decoder hold, sift refuses the data points that
// can never be stored, so that the converter, which gives up a metric at the first
// error, does not meet them. The two handlers share limits, bytes in flight, memory
// and counters.
func NewHandlers(cfg HandlerConfig, translation promconfig.OTLPConfig, logger *slog.Logger, reg prometheus.Registerer) (remoteWrite, otlp http.Handler) {
	h := newHandler(cfg, logger, reg)
	return h, &otlpHandler{
		handler:  h,
		settings: otlpSettings(translation),
		converters: sync.Pool{New: func() any {
			return prometheusremotewrite.NewPrometheusConverter(nil)
		}},
		otlpMetrics: newOTLPMetrics(reg),
	}
}

// otlpHandler takes OTLP metrics over HTTP.
type otlpHandler struct {
	*handler
	settings    prometheusremotewrite.Settings
	converters  sync.Pool // *prometheusremotewrite.PrometheusConverter
	otlpMetrics *otlpMetrics
}

// ServeHTTP answers in the encoding of the request.
func (h *otlpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.cfg.Now()
	format, a := h.serve(r)
	writeOTLPAnswer(w, format, a)
	h.metrics.observe(protoOTLP, a.status, h.cfg.Now().Sub(start))
	if a.status == http.StatusServiceUnavailable {
		h.logger.Debug("OTLP write unavailable", "cause", a.text)
	}
}

func (h *otlpHandler) serve(r *http.Request) (otlpFormat, otlpAnswer) {
	if r.Method != http.MethodPost {
		return otlpText, otlpAnswer{status: http.StatusMethodNotAllowed, text: "method not allowed; send POST"}
	}
	format, gzipped, typeErr := negotiateOTLP(r.Header)
	tenant, err := h.cfg.Tenant(r)
	if err != nil {
		return format, otlpAnswer{status: http.StatusBadRequest, text: err.Error()}
	}
	if typeErr != nil {
		return format, h.refuseOTLP(r, tenant, typeErr)
	}
	room := h.roomFor(tenant)
	defer room.leave()
	result := &otlpResult{}
	md, err := h.receiveOTLP(r, &room, format, gzipped, result)
	if err != nil {
		h.limited.request(tenant, err)
		return format, h.refuseOTLP(r, tenant, err)
	}
	a := h.answerOTLP(r, &room, md, result)
	if a.status == http.StatusServiceUnavailable {
		room.giveBack()
	}
	d := &result.delivery
	booked := h.cfg.Ledger.recordOTLP(r, tenant, d, a.status)
	whole := len(result.held) == 1 && d.accepted+len(d.refused) == 0
	h.cfg.Election.keep(result.held, booked, d.request, whole)
	return format, a
}

// refuseOTLP answers a request of which the data points are not known.
func (h *otlpHandler) refuseOTLP(r *http.Request, tenant string, err error) otlpAnswer {
	a := otlpAnswerError(err)
	h.cfg.Ledger.refuse(r, tenant, nil, a.status)
	return a
}

// answerOTLP writes the data points and says what became of them.
func (h *otlpHandler) answerOTLP(r *http.Request, room *admission, md pmetric.Metrics, result *otlpResult) otlpAnswer {
	result.points = md.DataPointCount()
	result.delivery.unwritten = ReasonTranslation
	err := h.writeOTLP(r, room, md, result)
	if err == nil {
		return result.answer()
	}
	h.limited.request(room.tenant, err)
	result.delivery.unwritten = ReasonTooLarge
	return otlpAnswerError(err)
}

// receiveOTLP reads and decodes a request, taking up room for it.
func (h *otlpHandler) receiveOTLP(r *http.Request, room *admission, format otlpFormat, gzipped bool, result *otlpResult) (md pmetric.Metrics, err error) {
	if err := h.admit(room); err != nil {
		return md, err
	}
	limits := room.limits
	b := h.batches.getUnder(room.tenant, limits) // Only for its buffers: what is decoded is a copy.
	defer b.release()
	if b.wireBuf, err = readBody(r, b.wireBuf, limits.BodyBytes, room); err != nil {
		return md, err
	}
	result.delivery.request = fingerprintOf(b)
	body := b.wireBuf
	if gzipped {
		size, err := gunzippedSize(b.wireBuf, limits.DecodedBytes)
		if err != nil {
			return md, err
		}
		if err := room.take(size); err != nil {
			return md, err
		}
		if b.bodyBuf, err = gunzip(b.wireBuf, b.bodyBuf, size); err != nil {
			return md, err
		}
		body = b.bodyBuf
	} else if int64(len(body)) > limits.DecodedBytes {
		return md, bodyTooLarge(limits.DecodedBytes)
	}
	elements, err := surveyOTLP(body, format)
	if err != nil {
		return md, err
	}
	if err := room.take(elements * otlpElementBytes); err != nil {
		return md, err
	}
	return decodeOTLP(body, format)
}

func decodeOTLP(body []byte, format otlpFormat) (pmetric.Metrics, error) {
	req := pmetricotlp.NewExportRequest()
	decode := req.UnmarshalProto
	if format == otlpJSON {
		decode = req.UnmarshalJSON
	}
	if err := decode(body); err != nil {
		return pmetric.Metrics{}, err
	}
	return req.Metrics(), nil
}

// writeOTLP translates md and writes what comes out of it. An error refuses the request
// as a whole; what of it was written before stays.
func (h *otlpHandler) writeOTLP(r *http.Request, room *admission, md pmetric.Metrics, result *otlpResult) error {
	ctx, now := r.Context(), h.cfg.Now()
	bounds := boundsAround(now, h.cfg.MaxPast, h.cfg.MaxFuture)
	s := otlpSifter{bounds: bounds, limits: *room.limits, settings: h.settings, result: result}
	if err := s.sift(md); err != nil {
		return err
	}
	c := &otlpCollector{handler: h.handler, request: r, room: room, bounds: bounds, result: result}
	untranslated := h.translate(ctx, md, c)
	if err := c.Commit(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return refuseRequest(http.StatusServiceUnavailable, "translation was interrupted: %s", err)
	}
	if untranslated != nil && result.unavailable == "" {
		// Sift let something through. Of its metric, what came before it is stored.
		missing := result.points - result.rejected - int(c.points)
		result.refuse(otlpCount{points: max(0, missing)}, ReasonTranslation, "%s", printable(firstError(untranslated).Error()))
	}
	for reason, n := range result.ownReasons {
		h.metrics.refuse(reason, n)
	}
	return nil
}

// translate runs Prometheus' converter over md, into c. The error says what it could
// not translate; it gives up single metrics only.
func (h *otlpHandler) translate(ctx context.Context, md pmetric.Metrics, c *otlpCollector) error {
	converter := h.converters.Get().(*prometheusremotewrite.PrometheusConverter)
	converter.Reset(c)
	warnings, err := converter.FromMetrics(ctx, md, h.settings)
	converter.Reset(nil) // Nothing of the request may stay in the pool.
	h.converters.Put(converter)

	for category, n := range prometheusremotewrite.CountWarningsByCategory(warnings) {
		h.otlpMetrics.warnings.WithLabelValues(string(category)).Add(float64(n))
	}
	return err
}
