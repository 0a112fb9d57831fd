// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"encoding/json"
	"time"

	"github.com/prometheus/common/model"
)

// Retention is how long samples are kept in the bucket; where the file says nothing the flags of the node do.
type Retention struct {
	Set  bool
	Time time.Duration // 0 is for ever.
}

// UnmarshalYAML implements yaml.Unmarshaler. It takes durations as Prometheus writes them, such as 30d.
func (r *Retention) UnmarshalYAML(unmarshal func(any) error) error {
	var d model.Duration
	if err := unmarshal(&d); err != nil {
		return err
	}
	*r = Retention{Set: true, Time: time.Duration(d)}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (r Retention) MarshalJSON() ([]byte, error) {
	if !r.Set {
		return []byte("null"), nil
	}
	return json.Marshal(model.Duration(r.Time))
}

// Or returns what the file says, or else what the flag does.
func (r Retention) Or(flag model.Duration) time.Duration {
	if r.Set {
		return r.Time
	}
	return time.Duration(flag)
}

// retentions are those that are set, in seconds.
func (t *Tenant) retentions() (set []limit) {
	add := func(name string, r Retention) {
		if r.Set {
			set = append(set, limit{name, r.Time.Seconds(), 0, ceilingCount})
		}
	}
	add("retention_raw", t.RetentionRaw)
	add("retention_5m", t.Retention5m)
	add("retention_1h", t.Retention1h)
	return set
}
