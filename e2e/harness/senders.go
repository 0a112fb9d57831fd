// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
)

// Sender is a row of the delivery ledger.
type Sender struct {
	Cluster string `json:"cluster"`
	Replica string `json:"replica"`
	Address string `json:"address"`

	Requests struct {
		Accepted    float64 `json:"accepted"`
		Rejected    float64 `json:"rejected"`
		Unavailable float64 `json:"unavailable"`
		Unreadable  float64 `json:"unreadable"`
		Retried     float64 `json:"retried"`
	} `json:"requests"`
	Samples struct {
		Received    float64 `json:"received"`
		Accepted    float64 `json:"accepted"`
		Distinct    float64 `json:"distinct"`
		Rejected    float64 `json:"rejected"`
		Unavailable float64 `json:"unavailable"`
	} `json:"samples"`
	Reasons map[string]float64 `json:"rejectedByReason"`
}

// Senders asks for the ledger of all members.
func (a API) Senders() ([]Sender, error) {
	resp, err := a.Call("/api/v1/status/senders", map[string][]string{"cluster": {"true"}})
	if err != nil {
		return nil, err
	}
	if err := resp.Complete(); err != nil {
		return nil, err
	}
	var ledger struct {
		Senders []Sender `json:"senders"`
	}
	err = json.Unmarshal(resp.Data, &ledger)
	return ledger.Senders, err
}

// OnlySender returns the only row of the ledger.
func (a API) OnlySender() (Sender, error) {
	rows, err := a.Senders()
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%d senders instead of 1: %+v", len(rows), rows)
	}
	if err != nil {
		return Sender{}, err
	}
	return rows[0], nil
}
