// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

func addDrain(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	cmd := app.Command("drain", "Take a member out of the cluster for good: it takes no more writes, uploads all it has, hands its slots over, and says when its disk may be deleted. A restart needs none of this.")
	base := cmd.Flag("url", "Internal address of the member that leaves (its --internal.listen-address).").Default("http://127.0.0.1:9095").String()
	force := cmd.Flag("force", "Leave although the other members cannot spare this one, or samples are lost; what that costs is printed.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		return runDrain(ctx, out, *base, *force)
	}
}

// runDrain asks the member to drain itself and prints what it says.
func runDrain(ctx context.Context, out io.Writer, base string, force bool) error {
	query := url.Values{"force": {strconv.FormatBool(force)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+pathDrain+"?"+query.Encode(), nil)
	if err != nil {
		return fmt.Errorf("--url=%q: %w", base, err)
	}
	resp, err := (&http.Client{}).Do(req) // No timeout: an upload takes what it takes.
	if err != nil {
		return fmt.Errorf("ask the member: %w; is it running, and is --url its internal address?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("%s answered %s: %s", base, resp.Status, strings.TrimSpace(string(body)))
	}
	last := ""
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		last = lines.Text()
		fmt.Fprintln(out, last)
	}
	switch {
	case strings.HasPrefix(last, drainedLine):
		return nil
	case strings.HasPrefix(last, stayedLine):
		return errors.New("the member stays; what stands against it is above")
	default:
		return errors.Join(errors.New("the member stopped answering; the drain goes on without us: ask again"), lines.Err())
	}
}
