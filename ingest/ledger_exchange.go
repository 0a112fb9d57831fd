// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/penstock-io/penstock/ring"
)

// PathInternalAcked is where a member hears which requests the others answered.
// docs/format/senders.md has the form.
const PathInternalAcked = "/internal/v1/acked"

var errMemberAway = errors.New("member is away")

// tellOthers tells the members whose names come after this one's what was answered
// here since they were told last. A member that does not listen is told the next time.
func (l *Ledger) tellOthers(ctx context.Context) {
	for _, m := range l.others() {
		if m.Name < l.cfg.View().Self || !m.Alive {
			continue
		}
		body, next := l.acked.encodeFrom(l.told[m.Name])
		if len(body) == 0 {
			continue
		}
		if err := l.tell(ctx, m.Member, body); err != nil {
			l.metrics.exchangeFailures.Inc()
			l.logger.Debug("member not told of answered requests", "member", m.Name, "err", err)
			continue
		}
		l.told[m.Name] = next
	}
}

func (l *Ledger) tell(ctx context.Context, m ring.Member, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, senderStatusTimeout)
	defer cancel()
	url := l.cfg.Scheme + "://" + m.InternalAddr + PathInternalAcked
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := l.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return &peerError{status: resp.StatusCode, text: "not heard"}
	}
	return nil
}

// InternalAckedHandler takes what the members before this one answered. It does not
// authenticate; who mounts it does.
func (l *Ledger) InternalAckedHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "method not allowed: use POST", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ackedRequestsMax*ackedRecordBytes))
		if err != nil || len(body)%ackedRecordBytes != 0 {
			http.Error(w, "not a list of answered requests", http.StatusBadRequest)
			return
		}
		now := l.cfg.Now()
		for ; len(body) > 0; body = body[ackedRecordBytes:] {
			l.acked.hear(readAckedRecord(body), now)
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
