// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// protocol is the message that a request declares.
type protocol uint8

const (
	protoUnknown protocol = iota
	protoV1
	protoV2
	protoOTLP
)

// String returns the version of remote write, or otlp; it is a metric label.
func (p protocol) String() string {
	switch p {
	case protoV1:
		return "1.0"
	case protoV2:
		return "2.0"
	case protoOTLP:
		return "otlp"
	default:
		return "unknown"
	}
}

// contentType declares a body of this protocol.
func (p protocol) contentType() string {
	if p == protoV2 {
		return mediaType + ";proto=" + messageV2
	}
	return mediaType
}

const (
	mediaType    = "application/x-protobuf"
	messageV1    = "prometheus.WriteRequest"
	messageV2    = "io.prometheus.write.v2.Request"
	snappyCoding = "snappy"
)

// requestError is the answer to a request that is refused as a whole.
type requestError struct {
	status int
	msg    string
}

func (e *requestError) Error() string { return e.msg }

func refuseRequest(status int, format string, args ...any) error {
	return &requestError{status, fmt.Sprintf(format, args...)}
}

// negotiate returns the message that the headers declare. The content type is a
// media type: its case, spaces and quotes do not matter. Taking a 2.0 body for a 1.0
// one because of a space would lose it with a 2xx.
func negotiate(h http.Header) (protocol, error) {
	p, err := negotiateType(h.Get("Content-Type"))
	if err != nil {
		return protoUnknown, err
	}
	// 1.0 senders that name no coding exist, and send snappy.
	if coding := strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ",")); coding != "" && !strings.EqualFold(coding, snappyCoding) {
		return p, refuseRequest(http.StatusUnsupportedMediaType, "unsupported content encoding %s; send %s (block format)", quote([]byte(coding)), snappyCoding)
	}
	return p, nil
}

func negotiateType(contentType string) (protocol, error) {
	if contentType == "" {
		return protoV1, nil
	}
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil || typ != mediaType {
		return protoUnknown, refuseRequest(http.StatusUnsupportedMediaType, "unsupported content type %s; send %s", quote([]byte(contentType)), mediaType)
	}
	switch message, declared := params["proto"]; {
	case !declared, message == messageV1:
		return protoV1, nil
	case message == messageV2:
		return protoV2, nil
	default:
		return protoUnknown, refuseRequest(http.StatusUnsupportedMediaType, "unknown proto message %s; send %s or %s", quote([]byte(message)), messageV1, messageV2)
	}
}
