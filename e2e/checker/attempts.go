// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxAttempts bounds the log of attempts: hours of what a test sends.
const maxAttempts = 2_000_000

// Attempt is one request that was sent.
type Attempt struct {
	At     time.Time // when it was sent
	Took   time.Duration
	Target string
	Status int    // 0: no answer
	Text   string // of an answer that is no success, or the error

	retryAfter time.Duration
}

// Attempts is the log of all requests of a load. It is safe for concurrent use.
type Attempts struct {
	mtx sync.Mutex
	all []Attempt
}

func (l *Attempts) add(a Attempt) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if len(l.all) < maxAttempts {
		l.all = append(l.all, a)
	}
}

// Between are the attempts that were sent in [from, to) and that keep accepts; nil accepts all.
func (l *Attempts) Between(from, to time.Time, keep func(Attempt) bool) []Attempt {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	var out []Attempt
	for _, a := range l.all {
		if !a.At.Before(from) && a.At.Before(to) && (keep == nil || keep(a)) {
			out = append(out, a)
		}
	}
	return out
}

// Answers counts attempts by what became of them: 2xx, 4xx, 5xx or no answer.
type Answers struct{ OK, Refused, Unavailable, None int }

// CountAnswers counts.
func CountAnswers(attempts []Attempt) Answers {
	var n Answers
	for _, a := range attempts {
		switch a.Status / 100 {
		case 2:
			n.OK++
		case 4:
			n.Refused++
		case 0:
			n.None++
		default:
			n.Unavailable++
		}
	}
	return n
}

// Failed is the number of attempts that were not answered with a 2xx.
func (n Answers) Failed() int { return n.Refused + n.Unavailable + n.None }

func (n Answers) String() string {
	return fmt.Sprintf("%d 2xx, %d 4xx, %d 5xx, %d without answer", n.OK, n.Refused, n.Unavailable, n.None)
}

// Texts are the different answers among the attempts that failed, with how often each was given, at most max of them.
func Texts(attempts []Attempt, most int) string {
	counts := map[string]int{}
	for _, a := range attempts {
		if a.Status/100 != 2 {
			counts[fmt.Sprintf("%s %d %.160s", a.Target, a.Status, strings.TrimSpace(a.Text))]++
		}
	}
	texts := make([]string, 0, len(counts))
	for text, n := range counts {
		texts = append(texts, fmt.Sprintf("%dx %s", n, text))
	}
	slices.Sort(texts)
	return strings.Join(texts[:min(most, len(texts))], "\n")
}

// Quantile is the q-th quantile of how long the attempts took, by the nearest rank; 0 of none.
func Quantile(attempts []Attempt, q float64) time.Duration {
	if len(attempts) == 0 {
		return 0
	}
	took := make([]time.Duration, len(attempts))
	for i, a := range attempts {
		took[i] = a.Took
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)]
}
