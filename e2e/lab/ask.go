// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// queryTimeout bounds one query of a measurement.
const queryTimeout = 5 * time.Minute

// Ask sends a query to the first process, which is the one that Grafana would ask, and reads the answer to its end. It
// returns how many bytes that were.
func (s *Servers) Ask(ctx context.Context, pathAndQuery string, header http.Header) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.APIs[0].URL+pathAndQuery, nil)
	if err != nil {
		return 0, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	// Compressed answers cost both sides what is not measured here.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", s.APIs[0].Name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var said strings.Builder
		_, _ = io.Copy(&said, io.LimitReader(resp.Body, 1000)) // Whatever came of it is good enough for a message.
		return 0, fmt.Errorf("%s answers %d: %s", s.APIs[0].Name, resp.StatusCode, said.String())
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return n, fmt.Errorf("read the answer of %s: %w", s.APIs[0].Name, err)
	}
	return n, nil
}
