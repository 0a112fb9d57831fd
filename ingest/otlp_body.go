// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// otlpFormat is the encoding of an OTLP request, and of its answer.
type otlpFormat uint8

const (
	// otlpText answers who did not say what they speak.
	otlpText otlpFormat = iota
	otlpProto
	otlpJSON
)

const mediaTypeJSON = "application/json"

// contentType is the media type of answers.
func (f otlpFormat) contentType() string {
	switch f {
	case otlpProto:
		return mediaType
	case otlpJSON:
		return mediaTypeJSON
	default:
		return "text/plain; charset=utf-8"
	}
}

// negotiateOTLP returns what the headers declare.
func negotiateOTLP(h http.Header) (format otlpFormat, gzipped bool, err error) {
	contentType := h.Get("Content-Type")
	typ, params, err := mime.ParseMediaType(contentType)
	switch {
	case err == nil && typ == mediaType && params["proto"] == "":
		format = otlpProto
	case err == nil && typ == mediaTypeJSON:
		format = otlpJSON
	default:
		return otlpText, false, refuseRequest(http.StatusUnsupportedMediaType, "unsupported content type %s; send OTLP metrics as %s or %s",
			quote([]byte(contentType)), mediaType, mediaTypeJSON)
	}
	switch coding := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding"))); coding {
	case "", "identity":
		return format, false, nil
	case "gzip":
		return format, true, nil
	default:
		return format, false, refuseRequest(http.StatusUnsupportedMediaType, "unsupported content encoding %s; send gzip or none", quote([]byte(coding)))
	}
}

const (
	// gzipExpansionMax is more than DEFLATE can expand anything to.
	gzipExpansionMax = 1032
	// gzipFrameBytes is the least that a gzip member takes beside its data.
	gzipFrameBytes = 18
)

// gunzippedSize returns the size that the trailer of a gzip member claims, when that is
// possible and allowed. gunzip holds it to the claim.
func gunzippedSize(body []byte, limit int64) (int, error) {
	if len(body) < gzipFrameBytes {
		return 0, notGzip()
	}
	n := int64(binary.LittleEndian.Uint32(body[len(body)-4:]))
	switch {
	case n > int64(len(body))*gzipExpansionMax:
		return 0, notGzip()
	case n > limit:
		return 0, refuseRequest(http.StatusRequestEntityTooLarge, "decoded size %d exceeds limit %d", n, limit)
	default:
		return int(n), nil
	}
}

// gunzip decompresses one gzip member of n decompressed bytes into buf, which it returns
// grown. A body of several members is legal gzip that no OTLP sender writes.
func gunzip(body, buf []byte, n int) ([]byte, error) {
	src := bytes.NewReader(body)
	z, err := gzip.NewReader(src)
	if err != nil {
		return buf, notGzip()
	}
	z.Multistream(false)
	buf = slices.Grow(buf[:0], n)[:n]
	if _, err := io.ReadFull(z, buf); err != nil {
		return buf, notGzip()
	}
	// The end has to be here; only there the checksum is compared.
	if more, err := z.Read(make([]byte, 1)); more != 0 || !errors.Is(err, io.EOF) || src.Len() != 0 {
		return buf, notGzip()
	}
	return buf, nil
}

func notGzip() error {
	return refuseRequest(http.StatusBadRequest, "cannot decompress: not one gzip member")
}
