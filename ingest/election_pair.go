// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"unicode/utf8"
)

// haNameBytesMax bounds the names of clusters and replicas that are told apart.
const haNameBytesMax = 128

// haPair is the two labels of a sender in the raw form of its series: views of the
// batch.
type haPair struct {
	cluster, replica []byte // values
	// clusterEntry and replicaEntry are the label entries of a 1.0 series.
	clusterEntry, replicaEntry []byte
	// clusterRefs and replicaRefs are the symbols of name and value in a 2.0 series.
	clusterRefs, replicaRefs [2]uint32
}

// of tells whether a series has the two labels, written in the same way. It may say no
// for one that has them written otherwise.
func (p *haPair) of(b *Batch, s *Series) bool {
	if s.labelsIn == inRefs {
		return hasRefs(b.refsOf(s), p.clusterRefs, p.replicaRefs)
	}
	return hasEntries(b.labelBytesOf(s, nil), p.clusterEntry, p.replicaEntry)
}

func hasRefs(refs []uint32, a, b [2]uint32) bool {
	var foundA, foundB bool
	for i := 0; i+1 < len(refs); i += 2 {
		pair := [2]uint32{refs[i], refs[i+1]}
		foundA = foundA || pair == a
		foundB = foundB || pair == b
	}
	return foundA && foundB
}

// hasEntries walks label entries of less than 128 bytes, as nearly all are.
func hasEntries(entries, a, b []byte) bool {
	var foundA, foundB bool
	for i := 0; i+1 < len(entries); {
		next := i + 2 + int(entries[i+1])
		if entries[i+1] >= 0x80 || next > len(entries) {
			return false
		}
		switch entry := entries[i:next]; {
		case bytes.Equal(entry, a):
			foundA = true
		case bytes.Equal(entry, b):
			foundB = true
		}
		if foundA && foundB {
			return true
		}
		i = next
	}
	return false
}

func (p *haPair) same(o haPair) bool {
	return bytes.Equal(p.cluster, o.cluster) && bytes.Equal(p.replica, o.replica)
}

// named tells whether these are the values of the two labels.
func (p *haPair) named(cluster, replica string) bool {
	return string(p.cluster) == cluster && string(p.replica) == replica
}

// pairOf finds the two labels of a series that was scanned. It has none when one is
// missing, empty, or no name that can be told apart.
func (b *Batch) pairOf(s *Series, cluster, replica string) (p haPair, ok bool) {
	if s.labelsIn == inRefs {
		refs := b.refsOf(s) // Good ones: the scanner has refused the others.
		for i := 0; i+1 < len(refs); i += 2 {
			value := b.symbols[refs[i+1]].text
			switch string(b.symbols[refs[i]].text) {
			case cluster:
				p.cluster, p.clusterRefs = value, [2]uint32(refs[i:])
			case replica:
				p.replica, p.replicaRefs = value, [2]uint32(refs[i:])
			}
		}
		return p, p.valid()
	}
	c := cursor{b: b.labelBytesOf(s, nil)}
	for !c.done() {
		from := c.i
		_, typ, err := c.tag()
		if err != nil {
			return p, false
		}
		entry, err := c.message(typ)
		if err != nil {
			return p, false
		}
		name, value, err := readLabel(entry)
		if err != nil {
			return p, false // Validation refuses it.
		}
		switch string(name) {
		case cluster:
			p.cluster, p.clusterEntry = value, c.b[from:c.i]
		case replica:
			p.replica, p.replicaEntry = value, c.b[from:c.i]
		}
	}
	return p, p.valid()
}

func (p *haPair) valid() bool {
	for _, name := range [][]byte{p.cluster, p.replica} {
		if len(name) == 0 || len(name) > haNameBytesMax || !utf8.Valid(name) {
			return false
		}
	}
	return true
}
