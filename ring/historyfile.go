// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	historyFileName = "members.json"
	historyVersion  = 1
	// historyBytesMax is ample for recordsMax records of the longest names and addresses.
	historyBytesMax = 2 << 20
)

// historyJSON is the form of the member history in the file members.json, and in
// the push/pull between members; see docs/format/members.md.
type historyJSON struct {
	Version int `json:"version"`
	sender
	Members []Record `json:"members"`
}

// sender is who sends a history to another member. It is empty in the file, and from
// members of the first versions.
type sender struct {
	From string `json:"from,omitempty"`
	Addr string `json:"addr,omitempty"` // where it gossips
	// Sent is when, by the clock of the sender.
	Sent time.Time `json:"sent,omitzero"`
}

// encodeHistory writes at most recordsMax records, because readers take no more.
func encodeHistory(from sender, records []Record) ([]byte, error) {
	records = records[:min(len(records), recordsMax)]
	data, err := json.Marshal(historyJSON{Version: historyVersion, sender: from, Members: records})
	if err != nil {
		return nil, fmt.Errorf("encode member history: %w", err)
	}
	return data, nil
}

// decodeHistory believes nothing: sizes are bounded and every record is checked.
func decodeHistory(data []byte) (historyJSON, error) {
	if len(data) > historyBytesMax {
		return historyJSON{}, fmt.Errorf("decode member history: %d bytes are more than %d", len(data), historyBytesMax)
	}
	var h historyJSON
	if err := json.Unmarshal(data, &h); err != nil {
		return historyJSON{}, fmt.Errorf("decode member history: %w", err)
	}
	if h.Version != historyVersion {
		return historyJSON{}, fmt.Errorf("decode member history: version %d is not %d", h.Version, historyVersion)
	}
	if len(h.Members) > recordsMax {
		return historyJSON{}, fmt.Errorf("decode member history: %d members are more than %d", len(h.Members), recordsMax)
	}
	for _, r := range h.Members {
		if err := r.validate(); err != nil {
			return historyJSON{}, fmt.Errorf("decode member history: %w", err)
		}
		if len(r.GossipAddr) > addrBytesMax {
			return historyJSON{}, fmt.Errorf("decode member history: gossip address of %q is longer than %d bytes", r.Name, addrBytesMax)
		}
	}
	return h, nil
}

// loadHistory returns the last-known members; none if there is no file. A file
// that cannot be understood is set aside and reported: the members are found
// again through the seeds, so it is no reason not to start.
func loadHistory(path string) (records []Record, damage error, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read last-known members: %w", err)
	}
	h, damage := decodeHistory(data)
	if damage == nil {
		return h.Members, nil, nil
	}
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, nil, fmt.Errorf("set aside last-known members: %w", err)
	}
	return nil, damage, nil
}

// LastKnownPeers returns the names of the other members of the cluster that dir, the
// Config.Dir of a member, was used in last. Those that left for good do not count. A
// file that cannot be understood names nobody.
func LastKnownPeers(dir, self string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, historyFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last-known members: %w", err)
	}
	h, err := decodeHistory(data)
	if err != nil {
		return nil, nil //nolint:nilerr // NewCluster, which needs the file, reports it.
	}
	var names []string
	for _, r := range h.Members {
		if r.Name != self && r.State != Left {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
