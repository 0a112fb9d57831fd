// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// Error says which limit a query has met, what it needed as far as that is known, and how to change the limit.
type Error struct {
	Limit Name
	// Status is that of the answer: 422 where the same query will always meet the limit, 503 where it may not.
	Status int
	text   string
}

func (e *Error) Error() string { return e.text }

// Is makes what may pass tsdb.ErrNotReady, which Prometheus' API reports as "unavailable".
func (e *Error) Is(target error) bool {
	return target == tsdb.ErrNotReady && e.Status == http.StatusServiceUnavailable
}

// TooLarge tells the fan-out that this is about the query, and not about the member or the bucket that was being asked.
func (*Error) TooLarge() bool { return true }

// refuse is the error of a query that asks for too much. The text names what, its limit, and what to do about it.
func refuse(n Name, format string, args ...any) *Error {
	return &Error{Limit: n, Status: http.StatusUnprocessableEntity, text: fmt.Sprintf(format, args...) + "; " + n.how()}
}

// overloaded is the error of a query that has found no room.
func overloaded(n Name, format string, args ...any) *Error {
	return &Error{Limit: n, Status: http.StatusServiceUnavailable, text: fmt.Sprintf(format, args...)}
}

func tooManySeries(limit int64) *Error {
	return refuse(Series, "the query touches more than %d series, which is the limit (%s): select fewer series", limit, Series)
}

func tooManyBytes(read, limit int64) *Error {
	return refuse(Bytes, "the query reads %d bytes or more, and the limit is %d (%s): select fewer series or a shorter range", read, limit, Bytes)
}

func tooManySamples(limit int64) *Error {
	return refuse(Samples, "query processing would load too many samples into memory: more than %d at a time, which is the limit (%s): "+
		"select fewer series, a shorter range or a longer step", limit, Samples)
}

func tooLongRegex(size, limit int64) *Error {
	return refuse(RegexBytes, "the query has a regular expression that counts %d bytes, and the limit is %d (%s): one that is more than a list of words "+
		"counts %d times, and each group that captures counts %d bytes", size, limit, RegexBytes, complexFactor, groupBytes)
}

func tooMuchMemory(held, limit int64) *Error {
	return refuse(MemoryBytes, "the query would hold about %d bytes of memory, and the limit is %d (%s): select fewer series, a shorter range or a longer step, "+
		"or make shorter labels", held, limit, MemoryBytes)
}

func tooHeavy(held, used, limit int64) *Error {
	return &Error{Limit: Memory, Status: http.StatusUnprocessableEntity, text: fmt.Sprintf(
		"the query was ended because this node is short of memory and no other query held as much: it held about %d MiB, the node uses %d of %d MiB "+
			"and ends queries from %d %% on: select fewer series, a shorter range or a longer step; give the node more memory, or bound queries with %s, %s or %s",
		held>>20, used>>20, limit>>20, int(queryShare*100), Series.Flag(), Samples.Flag(), Concurrency.Flag())}
}

func noRoom(need, used, limit int64) *Error {
	return &Error{Limit: Memory, Status: http.StatusUnprocessableEntity, text: fmt.Sprintf(
		"the query was ended because there is no memory for its answer, which takes about %d MiB: with it the node would use %d of %d MiB, and the limit for answers is %d %%: "+
			"select fewer series, a shorter range or a longer step; give the node more memory, or bound queries with %s, %s or %s",
		need>>20, used>>20, limit>>20, int(answerShare*100), Series.Flag(), Samples.Flag(), Concurrency.Flag())}
}

// timedOut is an error of the engine's own kind, so that the API answers it as Prometheus does.
func timedOut(limit time.Duration) error {
	return promql.ErrQueryTimeout(fmt.Sprintf("query execution: it took longer than %s, which is the limit (%s): select fewer series, "+
		"a shorter range or a longer step; %s", limit, Timeout, Timeout.how()))
}

// nameOf is the limit that an error is about; empty without one.
func nameOf(err error) Name {
	var e *Error
	if errors.As(err, &e) {
		return e.Limit
	}
	if errors.As(err, new(promql.ErrQueryTimeout)) {
		return Timeout
	}
	return ""
}

// StatusOf returns the status of an answer that carries err, and whether it is one of this package.
func StatusOf(err error) (int, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Status, true
	}
	return 0, false
}
