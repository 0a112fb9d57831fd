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
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

// ringStatus is what /api/v1/status/ring answers.
type ringStatus struct {
	Version           string       `json:"version"`
	ReplicationFactor int          `json:"replicationFactor"`
	Self              string       `json:"self"`
	Members           []ringMember `json:"members"`
}

type ringMember struct {
	Name         string    `json:"name"`
	Zone         string    `json:"zone"`
	State        string    `json:"state"`
	Alive        bool      `json:"alive"`
	Forgotten    bool      `json:"forgotten"`
	InternalAddr string    `json:"internalAddr"`
	LastSeen     time.Time `json:"lastSeen"`
	Slots        int       `json:"slots"`
	Whole        *bool     `json:"whole,omitempty"` // Nil from a member of the first versions.
	Holes        bool      `json:"holes,omitempty"`
	Replaced     uint64    `json:"replaced,omitempty"`
	Refilled     uint64    `json:"refilled,omitempty"`
}

func addRing(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	cmd := app.Command("ring", "Show the members of a running cluster, their state and how many slots each owns.")
	url := cmd.Flag("url", "Public address of any member.").Default("http://127.0.0.1:9009").String()
	asJSON := cmd.Flag("json", "Print the answer as JSON.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		status, err := fetchRing(ctx, *url)
		if err != nil {
			return err
		}
		if *asJSON {
			enc := json.NewEncoder(out)
			enc.SetIndent("", "  ")
			return enc.Encode(status)
		}
		return printRing(out, status)
	}
}

// fetchRing asks the member at base for its view of the ring.
func fetchRing(ctx context.Context, base string) (*ringStatus, error) {
	var answer struct {
		Data ringStatus `json:"data"`
	}
	if err := askMember(ctx, base, "/api/v1/status/ring", nil, &answer); err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

// askMember gets a status page of the member at base and decodes it into answer.
func askMember(ctx context.Context, base, path string, header http.Header, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+path, nil)
	if err != nil {
		return fmt.Errorf("--url=%q: %w", base, err)
	}
	maps.Copy(req.Header, header)
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return fmt.Errorf("ask the member: %w; is it running, and is --url its public address?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%s answered %s: %s", base, resp.Status, strings.TrimSpace(string(body)))
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s did not answer as a penstock member: %w", base, err)
	}
	return nil
}

func printRing(out io.Writer, s *ringStatus) error {
	fmt.Fprintf(out, "ring %s, replication factor %d, seen by %s\n\n", s.Version, s.ReplicationFactor, s.Self)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "MEMBER\tZONE\tSTATE\tALIVE\tDATA\tSLOTS\tINTERNAL ADDRESS\tLAST SEEN")
	for _, m := range s.Members {
		alive := "yes"
		switch {
		case m.Forgotten:
			alive = "forgotten"
		case !m.Alive:
			alive = "no"
		}
		seen := "-"
		if !m.LastSeen.IsZero() {
			seen = m.LastSeen.UTC().Format(time.RFC3339)
		}
		data := "whole"
		if m.Whole != nil && !*m.Whole {
			data = lacks(*m.Whole, m.Holes)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.Name, m.Zone, m.State, alive, data, m.Slots, m.InternalAddr, seen)
	}
	return w.Flush()
}
