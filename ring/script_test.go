// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the expected output of the scripts in testdata/ring; review the diff")

// TestScripts runs the scripts of testdata/ring. A script is paragraphs of
// commands, "----", and the output they must have. Lines that start with "#" are
// comments. The commands are those of world.run.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/ring/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			got := runScript(t, string(want))
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			require.Equal(t, string(want), got, "run with -update and review the diff if this is intended")
		})
	}
}

// runScript returns the script with the output that its commands really have.
func runScript(t *testing.T, script string) string {
	var w world
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		commands, _, isRun := strings.Cut(paragraph, "\n----")
		if !isRun {
			paragraphs = append(paragraphs, paragraph)
			continue
		}
		out := commands + "\n----\n"
		for command := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(command, "#") {
				out += w.run(t, strings.Fields(command))
			}
		}
		paragraphs = append(paragraphs, strings.TrimSpace(out))
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

// world is one member's history under a clock of its own.
type world struct {
	history *History
	ring    *Ring
	now     time.Time
}

const (
	scriptForgetAfter = 30 * time.Minute
	scriptKeep        = 24 * time.Hour
)

// run does one command:
//
//	start <member> rf=<n>   a new world, seen by this member
//	alive <member>...       gossip says that the members are alive
//	dead <name>...          gossip says that the members are dead
//	heard <member>...       a peer's push/pull tells of members; ago=<duration>, forgotten
//	wait <duration>         time passes, then members are forgotten and expired
//	restart                 this member starts anew with what it had on disk
//	members                 shows what is known
//
// A member is name[/zone[/state]][@generation][+holes][+refilled=<generation>]. Every command shows how slots moved.
func (w *world) run(t *testing.T, words []string) string {
	t.Helper()
	command, args := words[0], words[1:]
	out := ""
	switch command {
	case "start":
		w.start(t, args)
		return w.show()
	case "alive":
		for _, arg := range args {
			w.history.Seen(w.parse(t, arg))
		}
	case "dead":
		for _, name := range args {
			w.history.Lost(name, w.now)
		}
	case "heard":
		w.heard(t, args)
	case "wait":
		d, err := time.ParseDuration(args[0])
		require.NoError(t, err)
		w.now = w.now.Add(d)
		out += announce("forgotten", w.history.Forget(scriptForgetAfter, w.now))
		out += announce("expired", w.history.Expire(w.now.Add(-scriptKeep), w.now))
	case "restart":
		self := w.history.records[w.history.self]
		self.LastSeen = w.now
		w.history = NewHistory(self, w.history.Snapshot(w.now), w.ring.RF())
	case "members":
		return w.show()
	default:
		t.Fatalf("unknown command %q", command)
	}
	return out + w.moves()
}

func (w *world) start(t *testing.T, args []string) {
	rf, err := strconv.Atoi(strings.TrimPrefix(args[1], "rf="))
	require.NoError(t, err)
	w.now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	w.history = NewHistory(w.parse(t, args[0]), nil, rf)
	w.ring = w.history.View(w.now).Ring
}

func (w *world) heard(t *testing.T, args []string) {
	var records []Record
	for _, arg := range args {
		last := len(records) - 1
		if ago, ok := strings.CutPrefix(arg, "ago="); ok {
			d, err := time.ParseDuration(ago)
			require.NoError(t, err)
			records[last].LastSeen = w.now.Add(-d)
		} else if arg == "forgotten" {
			records[last].ForgottenAt = w.now
		} else {
			records = append(records, w.parse(t, arg))
		}
	}
	w.history.Merge(records, w.now.Add(-scriptKeep), w.now)
}

func (w *world) parse(t *testing.T, arg string) Record {
	arg, data, _ := strings.Cut(arg, "+")
	spec, generation, _ := strings.Cut(arg, "@")
	r := Record{LastSeen: w.now, Member: Member{State: Active, Generation: 1}}
	r.Holes = data == "holes"
	if n, ok := strings.CutPrefix(data, "refilled="); ok {
		g, err := strconv.ParseUint(n, 10, 64)
		require.NoError(t, err)
		r.Refilled = g
	}
	if generation != "" {
		g, err := strconv.ParseUint(generation, 10, 64)
		require.NoError(t, err)
		r.Generation = g
	}
	parts := strings.Split(spec, "/")
	r.Name = parts[0]
	if len(parts) > 1 {
		r.Zone = parts[1]
	}
	if len(parts) > 2 {
		require.NoError(t, r.State.UnmarshalText([]byte(parts[2])))
	}
	return r
}

// show lists the members, their health and the slots that they own.
func (w *world) show() string {
	slots := map[string]int{}
	for i, n := range w.ring.slotCounts() {
		slots[w.ring.Members()[i].Name] = n
	}
	out := fmt.Sprintf("ring %016x majority=%v\n", w.ring.Version(), w.history.majority())
	for _, m := range w.history.statuses(w.now) {
		health := "alive"
		if !m.Alive {
			health = fmt.Sprintf("dead for %s", w.now.Sub(m.LastSeen))
		}
		if m.Forgotten {
			health += ", forgotten"
		}
		if m.State != Left && !m.Whole() {
			health += fmt.Sprintf(", not whole (holes %v, replaced %d, refilled %d)", m.Holes, m.Replaced, m.Refilled)
		}
		out += strings.TrimRight(fmt.Sprintf("%-4s %-3s %-8s %5d slots, %s", m.Name, m.Zone, m.State, slots[m.Name], health), " ") + "\n"
	}
	return out
}

// moves updates the ring and tells who gained slots, and who lost any.
func (w *world) moves() string {
	before, after := w.ring, w.history.View(w.now).Ring
	w.ring = after
	if before.Version() == after.Version() {
		return "ring unchanged\n"
	}
	gained, lost := map[string]int{}, map[string]int{}
	for slot := range uint16(Slots) {
		was, is := ownerNames(before, slot), ownerNames(after, slot)
		for _, name := range is {
			if !slices.Contains(was, name) {
				gained[name]++
			}
		}
		for _, name := range was {
			if !slices.Contains(is, name) {
				lost[name]++
			}
		}
	}
	return fmt.Sprintf("ring %016x; slots gained %v, lost %v\n", after.Version(), gained, lost)
}

func announce(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return what + " " + strings.Join(names, " ") + "\n"
}
