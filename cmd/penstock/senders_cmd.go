// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/ingest"
)

func addSenders(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	cmd := app.Command("senders", "Show what each sender of a tenant delivered and what became of it.")
	url := cmd.Flag("url", "Public address of any member.").Default("http://127.0.0.1:9009").String()
	tenant := cmd.Flag("tenant", "Tenant whose senders are shown.").Default(defaultTenant).String()
	cluster := cmd.Flag("cluster", "Sum over all members; --no-cluster shows what the member at --url received.").Default("true").Bool()
	asJSON := cmd.Flag("json", "Print the answer as JSON.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		status, err := fetchSenders(ctx, *url, *tenant, *cluster)
		if err != nil {
			return err
		}
		if *asJSON {
			enc := json.NewEncoder(out)
			enc.SetIndent("", "  ")
			return enc.Encode(status)
		}
		return printSenders(out, status, time.Now())
	}
}

// fetchSenders asks the member at base for the senders of a tenant.
func fetchSenders(ctx context.Context, base, tenant string, cluster bool) (*ingest.LedgerStatus, error) {
	path := "/api/v1/status/senders"
	if cluster {
		path += "?cluster=true"
	}
	var answer struct {
		Data ingest.LedgerStatus `json:"data"`
	}
	header := http.Header{"X-Scope-Orgid": {tenant}}
	if err := askMember(ctx, base, path, header, &answer); err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

func printSenders(out io.Writer, s *ingest.LedgerStatus, now time.Time) error {
	fmt.Fprintf(out, "tenant %s, received by %s\n", s.Tenant, strings.Join(s.Members, ", "))
	if len(s.Missing) > 0 {
		fmt.Fprintf(out, "NOT COUNTED, no answer from: %s\n", strings.Join(s.Missing, ", "))
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SENDER\tLAST REQUEST\tLAG\tRECEIVED\tACCEPTED\tDUPLICATE\tDEDUPLICATED\tREJECTED\tUNAVAILABLE\tHINTED\tRETRIES\tUNREADABLE")
	for i := range s.Senders {
		r := &s.Senders[i]
		lag := "-"
		if !r.LastSample.IsZero() {
			lag = time.Duration(r.LagSeconds * float64(time.Second)).Round(100 * time.Millisecond).String()
		}
		ago := now.Sub(r.LastRequest).Round(time.Second).String() + " ago"
		c := &r.Samples
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", senderTitle(r), ago, lag,
			c.Received, c.Accepted, c.Duplicate, c.Deduplicated-c.Restored, c.Rejected, c.Unavailable, c.Hinted, r.Requests.Retried, r.Requests.Unreadable)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i := range s.Senders {
		r := &s.Senders[i]
		if len(r.Reasons) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n%s rejected:", senderTitle(r))
		for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
			fmt.Fprintf(out, " %s=%d", reason, r.Reasons[reason])
		}
	}
	fmt.Fprintln(out)
	return nil
}

// senderTitle is cluster/replica, or the address of a sender that has neither. What
// came from the network is quoted where it could break the table.
func senderTitle(s *ingest.SenderStatus) string {
	title := s.Cluster + "/" + s.Replica
	if s.Address != "" {
		title = s.Address
	}
	quoted := fmt.Sprintf("%q", title)
	if quoted != `"`+title+`"` || strings.ContainsRune(title, ' ') {
		return quoted
	}
	return title
}
