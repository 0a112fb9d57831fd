// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	debtsFile    = "debts.json"
	debtsVersion = 1
	// debtGrain is what the times of a debt are rounded to, outwards, so that a log
	// that refuses a thousand hints a second does not write a file for each.
	debtGrain = time.Minute
	// shortAhead is how far ahead a debt of a short ring is noted, because each write of that
	// time would add to it.
	shortAhead = 10 * time.Minute
	// debtsMax bounds the list. Short rings that are not on it then are noted as one that
	// nobody was in.
	debtsMax = 512
)

// Debt is a stretch of time of which a member misses writes that this log was to keep
// for it and could not: the member has a hole there that no hint fills.
type Debt struct {
	Member string `json:"member,omitempty"`
	// Ring are, where Member is empty, those who were all the owners there were, fewer than
	// copies: whoever has become an owner since misses the writes. See Log.NoteShort.
	Ring []string `json:"ring,omitempty"`
	// From and To are when the writes were received, To not inclusive.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Reason is why the last of them was not kept.
	Reason string `json:"reason"`
}

// key tells debts apart: there is one for each member and for each short ring.
func (d Debt) key() string {
	if d.Member != "" {
		return d.Member
	}
	return strings.Join(d.Ring, ",") // Two at least, so that it is no member's name.
}

// debts is the durable list, at most one for each key. Its commit point is the
// rename of the file. Safe for concurrent use.
type debts struct {
	dir    string
	logger *slog.Logger

	mu      sync.Mutex
	byKey   map[string]Debt
	unsaved bool // The file lacks something: the disk refused it.
}

// debtsJSON is the content of the file.
type debtsJSON struct {
	Version int    `json:"version"`
	Debts   []Debt `json:"debts"`
}

// loadDebts reads the file in dir. One that cannot be read is set aside: members whose
// holes it told of are found by the counters that went with them.
func loadDebts(dir string, logger *slog.Logger) (*debts, error) {
	d := &debts{dir: dir, logger: logger, byKey: map[string]Debt{}}
	path := filepath.Join(dir, debtsFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of lost hints: %w", err)
	}
	var file debtsJSON
	if err = json.Unmarshal(raw, &file); err == nil && file.Version != debtsVersion {
		err = fmt.Errorf("version %d, want %d", file.Version, debtsVersion)
	}
	if err != nil {
		logger.Error("the list of lost hints is damaged; members may miss writes without being refilled", "kept_as", path+".damaged", "err", err)
		return d, os.Rename(path, path+".damaged")
	}
	for _, debt := range file.Debts {
		d.byKey[debt.key()] = debt
	}
	return d, nil
}

// add notes that writes which were received in [from, to] are lost to the member. It is
// durable when add returns, unless the disk refuses it, which is logged; a later add or
// settle tries again.
func (d *debts) add(member string, from, to time.Time, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grow(Debt{Member: member, From: from, To: to, Reason: reason})
}

// addShort is add for the writes that the members named took, all that there were.
func (d *debts) addShort(members string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.byKey[members]
	if known && !now.Before(old.From) && now.Before(old.To) && !d.unsaved {
		return
	}
	debt := Debt{From: now, To: now.Add(shortAhead), Reason: shortRing}
	if known || len(d.byKey) < debtsMax {
		debt.Ring = strings.Split(members, ",")
	}
	d.grow(debt)
}

// grow adds a debt to the list, or to what there is of it; mu is held.
func (d *debts) grow(debt Debt) {
	debt.From, debt.To = debt.From.Truncate(debtGrain), debt.To.Truncate(debtGrain).Add(debtGrain)
	from, to := debt.From, debt.To
	old, known := d.byKey[debt.key()]
	if known && !from.Before(old.From) && !to.After(old.To) && !d.unsaved {
		return
	}
	if known {
		if old.From.Before(from) {
			debt.From = old.From
		}
		if old.To.After(to) {
			debt.To = old.To
		}
	}
	d.byKey[debt.key()] = debt
	d.save()
}

// settle takes a debt off the list, unless it has grown meanwhile.
func (d *debts) settle(debt Debt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.byKey[debt.key()]; !now.From.Equal(debt.From) || !now.To.Equal(debt.To) {
		return
	}
	delete(d.byKey, debt.key())
	d.save()
}

func (d *debts) all() []Debt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sorted()
}

func (d *debts) sorted() []Debt {
	return slices.SortedFunc(maps.Values(d.byKey), func(a, b Debt) int { return strings.Compare(a.key(), b.key()) })
}

// save writes the file; mu is held.
func (d *debts) save() {
	raw, err := json.MarshalIndent(debtsJSON{debtsVersion, d.sorted()}, "", "\t")
	if err == nil {
		err = replaceFile(filepath.Join(d.dir, debtsFile), append(raw, '\n'))
	}
	if err != nil && !d.unsaved {
		d.logger.Error("the list of lost hints is not written; it is kept in memory", "err", err)
	}
	d.unsaved = err != nil
}

// replaceFile makes data the content of the file at path, or leaves it as it was.
func replaceFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// NoteShort notes that a write is acknowledged which all members of the ring took, named with
// commas between them, though there are fewer of them than copies. There is nobody to keep a
// hint for; who becomes an owner later is told by the debt. It is durable when NoteShort
// returns, as far as the disk takes it.
func (l *Log) NoteShort(members string) { l.debts.addShort(members, l.cfg.Now()) }

// Debts tell which members miss writes for good because hints for them were dropped or
// could not be kept, or because they were not there, sorted.
func (l *Log) Debts() []Debt { return l.debts.all() }

// Settle forgets a debt: its member knows of the hole, or needs it no more. A debt that
// has grown since it was read stays.
func (l *Log) Settle(debt Debt) { l.debts.settle(debt) }
