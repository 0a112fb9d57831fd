// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"

	"github.com/prometheus/prometheus/tsdb"
)

// A series that was dropped from the head and came again has two references in the WAL.
// A TSDB that loads the WAL gives the series the first, and translates the second where
// it meets it. A snapshot of the head keeps the first alone, and loading it spares
// reading the WAL: then nothing translates the second any more, and the out-of-order
// samples that the WBL has under it are skipped. They are counted, so the snapshot is
// given up in that case, and the WAL is read as after a crash.

// hasSnapshot tells whether the next open may load a snapshot.
func (t *tenant) hasSnapshot() bool {
	_, _, _, err := tsdb.LastChunkSnapshot(t.dir)
	return err == nil
}

// discardSnapshot closes the TSDB such that the next open loads the WAL.
func (t *tenant) discardSnapshot(inst *instance) error {
	t.logger.Info("snapshot of the head does not know all series of the out-of-order log, loading the write-ahead log")
	return errors.Join(markFailed(t.dir, inst.wrote), inst.close())
}
