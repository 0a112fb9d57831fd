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

// OnlySender asks for the ledger of all members and returns its only row.
func (a API) OnlySender() (Sender, error) {
	resp, err := a.Call("/api/v1/status/senders", map[string][]string{"cluster": {"true"}})
	if err != nil {
		return Sender{}, err
	}
	if err := resp.Complete(); err != nil {
		return Sender{}, err
	}
	var ledger struct {
		Senders []Sender `json:"senders"`
	}
	if err := json.Unmarshal(resp.Data, &ledger); err != nil {
		return Sender{}, err
	}
	if len(ledger.Senders) != 1 {
		return Sender{}, fmt.Errorf("%d senders instead of 1: %+v", len(ledger.Senders), ledger.Senders)
	}
	return ledger.Senders[0], nil
}
