// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testSettings = Settings{RF: 3, OutOfOrderWindow: 2 * time.Hour, BlockDuration: 2 * time.Hour}.withDefaults()

var testMeta = meta{
	Member: Member{
		Name: "penstock-0", Zone: "eu-1a", State: Active, Generation: 1795176000000000000,
		InternalAddr: "10.0.0.1:9095", HTTPAddr: "10.0.0.1:9009",
		Holes: true, Refilled: 1795089600000000000,
	},
	Settings: testSettings,
}

func TestMetaRoundTrip(t *testing.T) {
	for _, state := range []State{Joining, Active, Leaving, Left} {
		want := testMeta
		want.State = state
		buf, err := want.encode()
		require.NoError(t, err)
		got, err := decodeMeta("penstock-0", buf)
		require.NoError(t, err)
		require.Equal(t, want, got)

		// A later version may append fields.
		got, err = decodeMeta("penstock-0", append(buf, 1, 2, 3))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// The sample in testdata is what docs/format/meta.md describes.
func TestMetaSample(t *testing.T) {
	text, err := os.ReadFile("testdata/meta.hex")
	require.NoError(t, err)
	sample, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	got, err := decodeMeta("penstock-0", sample)
	require.NoError(t, err)
	require.Equal(t, testMeta, got)
	buf, err := testMeta.encode()
	require.NoError(t, err)
	require.Equal(t, sample, buf)
}

// metaDataBytes is what the fields after the addresses take in testMeta.
const metaDataBytes = 1 + 9

// A member of the first versions does not say what it lacks, and skips what others say.
func TestMetaOfTheFirstVersions(t *testing.T) {
	buf, err := testMeta.encode()
	require.NoError(t, err)
	got, err := decodeMeta("penstock-0", buf[:len(buf)-metaDataBytes])
	require.NoError(t, err)
	want := testMeta
	want.Holes, want.Refilled = false, 0
	require.Equal(t, want, got)

	// Flags of later versions are none of our business.
	buf[len(buf)-metaDataBytes] |= 0x7c
	got, err = decodeMeta("penstock-0", buf)
	require.NoError(t, err)
	require.Equal(t, testMeta, got)
}

func TestMetaFitsAtTheLimits(t *testing.T) {
	longest := time.Duration(math.MaxInt64).Truncate(time.Millisecond)
	m := meta{
		Member: Member{
			Name: "a", Generation: math.MaxUint64, Zone: strings.Repeat("z", zoneBytesMax),
			InternalAddr: strings.Repeat("i", addrBytesMax), HTTPAddr: strings.Repeat("h", addrBytesMax),
			Holes: true, Newcomer: true, Refilled: math.MaxUint64,
		},
		Settings: Settings{math.MaxInt32, longest, longest, math.MaxInt32, math.MaxInt32},
	}
	buf, err := m.encode()
	require.NoError(t, err)
	require.LessOrEqual(t, len(buf), metaBytesMax)
	got, err := decodeMeta("a", buf)
	require.NoError(t, err)
	require.Equal(t, m, got)
}

func TestMetaRefusesWhatDoesNotFit(t *testing.T) {
	f := func(want string, change func(*meta)) {
		t.Helper()
		m := testMeta
		change(&m)
		_, err := m.encode()
		require.ErrorContains(t, err, want)
	}
	f("set --cluster.name", func(m *meta) { m.Name = "" })
	f("set --cluster.name", func(m *meta) { m.Name = "a b" })
	f("set --cluster.name", func(m *meta) { m.Name = strings.Repeat("a", 129) })
	f("set a shorter --cluster.zone", func(m *meta) { m.Zone = strings.Repeat("z", 65) })
	f("longer than 180 bytes", func(m *meta) { m.InternalAddr = strings.Repeat("z", 181) })
	f("longer than 180 bytes", func(m *meta) { m.HTTPAddr = strings.Repeat("z", 181) })
	f("unknown member state 4", func(m *meta) { m.State = Left + 1 })
}

func TestDecodeMetaRefuses(t *testing.T) {
	buf, err := testMeta.encode()
	require.NoError(t, err)
	for n := range buf {
		if n == len(buf)-metaDataBytes {
			continue // A meta of the first versions.
		}
		_, err := decodeMeta("penstock-0", buf[:n])
		require.Error(t, err, "the first %d bytes", n)
	}
	f := func(want string, buf ...byte) {
		t.Helper()
		_, err := decodeMeta("a", buf)
		require.ErrorContains(t, err, want)
	}
	f("version 2, this is version 1; run the same version", 2, 0, 0)
	f("unknown member state 9", 1, 9, 1, 3, 1, 1, 0, 0, 0, 0, 0)
	f("at most 2147483647", append([]byte{1, 0, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)...)
	f("cut short", 1, 0, 1, 3, 1, 1, 0, 0, 100, 'z')
	f("at most 512", 1, 0, 1, 3, 1, 1, 0, 0, 0xff, 0xff, 0x7f, 'z')
}

func FuzzDecodeMeta(f *testing.F) {
	buf, err := testMeta.encode()
	require.NoError(f, err)
	f.Add(buf)
	f.Add(buf[:len(buf)-metaDataBytes])
	f.Add(buf[:len(buf)-metaDataBytes+1])
	f.Add([]byte{1, 3})
	f.Add([]byte{1, 0, 1, 3, 1, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta("a", data)
		if err != nil {
			return
		}
		buf, err := m.encode()
		require.NoError(t, err, "%+v", m)
		again, err := decodeMeta("a", buf)
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

func FuzzDecodeHistory(f *testing.F) {
	sample, err := os.ReadFile("testdata/members.json")
	require.NoError(f, err)
	f.Add(sample)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeHistory(data)
		if err != nil {
			return
		}
		h := NewHistory(Record{Member: Member{Name: "self"}}, nil, 3)
		h.Merge(got.Members, time.Time{}, testTime)
		again, err := encodeHistory(sender{}, h.Snapshot(testTime))
		require.NoError(t, err)
		_, err = decodeHistory(again)
		require.NoError(t, err)
	})
}

func TestSettingsCheckNamesBothValuesAndTheRemedy(t *testing.T) {
	require.NoError(t, testSettings.check("b", testSettings))
	other := testSettings
	other.RF = 2
	other.BlockDuration = 5 * time.Minute
	require.EqualError(t, testSettings.check("b", other), `settings differ from those of member "b": replication factor is 3 here and 2 there (--cluster.replication-factor), block duration is 2h0m0s here and 5m0s there (--storage.block-duration); start every member with the same values`)
	other = testSettings
	other.OutOfOrderWindow, other.HashVersion, other.ProtocolVersion = 0, 9, 9
	err := testSettings.check("b", other)
	require.ErrorContains(t, err, "out-of-order window is 2h0m0s here and 0s there (--storage.out-of-order-window)")
	require.ErrorContains(t, err, "hash version is 1 here and 9 there (run the same version of penstock)")
	require.ErrorContains(t, err, "protocol version is 1 here and 9 there (run the same version of penstock)")
}
