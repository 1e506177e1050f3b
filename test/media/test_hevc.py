"""Tests of L{restreamer.media.hevc} and L{restreamer.media.hevc_sps}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import hevc
from restreamer.media.hevc_sps import parse_hevc_sps
from restreamer.media.track import HEVC

#: SPS of x265 with what a decoder says about them: width, height, frames/s times 1000, chroma format, depth;
#: and the name by their record.
KNOWN_SPS = {
    "420101016000000300900000030000030078a003c0801107cb965654a4c2f01680800001f480003a9804": (
        (1920, 1080, 29970, 1, 8),
        "hvc1.1.6.L120.90",
    ),
    "4201010408000003009d0800000300003cb00a880407111ed965654a4e1780b4040000030004000003006420": (
        (322, 242, 25000, 2, 10),
        "hvc1.4.10.L60.9D.8",
    ),
    "4201022408000003009e0800000300009900009000a0402e3e7cb2b295952930bc05a020000003002000000781": (
        (640, 362, 60000, 3, 8),
        "hvc1.4.10.H153.9E.8",
    ),
    "4201010408000003009988000003000078a00280802d114a595952930bc05a848804db080000030008000003019040": (
        (1280, 720, 50000, 1, 12),
        "hvc1.4.10.L120.99.88",
    ),
    "4201010408000003009fc800000300003cc0408185965654a4c2f046c080000003008000000c30064b2f000f420003d091": (
        (128, 96, 24000, 0, 8),
        "hvc1.4.10.L60.9F.C8",
    ),
}
SPS = bytes.fromhex(next(iter(KNOWN_SPS)))
VPS = bytes.fromhex("40010c01ffff016000000300900000030000030078959409")
PPS = bytes.fromhex("4401c073c189")
#: The record an encoder's own container writer made of such sets (segmentation not told).
RECORD = hevc.hvcc_from_sets([VPS], [SPS], [PPS])


class SpsTests(SynchronousTestCase):
    """The sequence parameter set."""

    def test_known(self) -> None:
        for text, (expected, _) in KNOWN_SPS.items():
            sps = parse_hevc_sps(bytes.fromhex(text))
            seen = (sps.width, sps.height, sps.frame_rate, sps.chroma_format, sps.luma_depth)
            self.assertEqual(seen, expected)

    def test_temporal_layers(self) -> None:
        layers = [parse_hevc_sps(bytes.fromhex(text)).sub_layers for text in KNOWN_SPS]
        self.assertEqual(layers, [1, 1, 2, 1, 1])

    def test_cut_anywhere(self) -> None:
        """A cut set is refused, or, cut in what only the frame rate needs, read without it."""
        for size in range(len(SPS)):
            try:
                sps = parse_hevc_sps(SPS[:size])
            except MediaError:
                continue
            self.assertEqual((sps.width, sps.height), (1920, 1080))

    def test_other_nal_unit(self) -> None:
        self.assertRaises(MediaError, parse_hevc_sps, PPS + bytes(20))

    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, tail: bytes) -> None:
        for head in (b"\x42\x01", SPS[:20]):
            try:
                parse_hevc_sps(head + tail)
            except MediaError:
                pass


class RecordTests(SynchronousTestCase):
    """HEVCDecoderConfigurationRecord."""

    def test_names(self) -> None:
        for text, (_, name) in KNOWN_SPS.items():
            self.assertEqual(hevc.hevc_name(hevc.hvcc_from_sets([], [bytes.fromhex(text)], [PPS])), name)

    def test_round(self) -> None:
        config = hevc.parse_hvcc(RECORD)
        self.assertEqual((config.vps, config.sps, config.pps), ((VPS,), (SPS,), (PPS,)))
        self.assertEqual((config.profile, config.level, config.length_size), (1, 120, 4))
        self.assertEqual(config.constraints.hex(), "900000000000")

    def test_head(self) -> None:
        """Byte by byte as ISO/IEC 14496-15 section 8.3.3.1.2 has it."""
        self.assertEqual(RECORD[:23].hex(), "0101600000009000000000007" + "8f000fcfdf8f800000f03")
        self.assertEqual(RECORD[23:28].hex(), "a000010018")

    def test_track(self) -> None:
        track = hevc.hevc_track(3, RECORD, 700)
        self.assertEqual(
            (track.codec, track.width, track.height, track.frame_rate), (HEVC, 1920, 1080, 29970)
        )
        self.assertEqual((track.track_id, track.bandwidth, track.config), (3, 700, RECORD))

    def test_average_rate_when_the_set_tells_none(self) -> None:
        record = bytearray(hevc.hvcc_from_sets([], [SPS[:-9]], [PPS]))
        record[19:21] = (25 * 256).to_bytes(2, "big")
        self.assertEqual(hevc.hevc_track(1, bytes(record)).frame_rate, 25000)

    def test_length_size_becomes_4(self) -> None:
        short = RECORD[:21] + bytes((RECORD[21] & ~3 | 1,)) + RECORD[22:]
        self.assertEqual(hevc.parse_hvcc(short).length_size, 2)
        self.assertEqual(hevc.hevc_track(1, short).config, RECORD)

    def test_version_0_of_the_drafts(self) -> None:
        self.assertEqual(hevc.normalise_hvcc(b"\x00" + RECORD[1:]), RECORD)

    def test_other_arrays_are_passed_over(self) -> None:
        sei = b"\x27\x00\x01\x00\x05\x4e\x01\x05\x00\x80"
        record = RECORD[:22] + bytes((RECORD[22] + 1,)) + RECORD[23:] + sei
        self.assertEqual(hevc.parse_hvcc(record), hevc.parse_hvcc(RECORD))

    def test_refused(self) -> None:
        no_pps = hevc.hvcc_from_sets([VPS], [SPS], [PPS])[: -(len(PPS) + 5)]
        bad = {
            "empty": b"",
            "version 2": b"\x02" + RECORD[1:],
            "length size 3": RECORD[:21] + bytes((RECORD[21] & ~3 | 2,)) + RECORD[22:],
            "cut": RECORD[:-1],
            "no PPS": no_pps[:22] + b"\x02" + no_pps[23:],
            "many arrays": RECORD[:22] + b"\xff" + RECORD[23:],
            "many sets": RECORD[:24] + b"\xff\xff" + RECORD[26:],
            "wrong type": RECORD[:23] + b"\xa1" + RECORD[24:],
            "huge": RECORD + bytes(20_000),
        }
        for name, record in bad.items():
            with self.assertRaises(MediaError, msg=name):
                hevc.parse_hvcc(record)
            self.assertRaises(MediaError, hevc.hevc_track, 1, record)

    def test_size_that_cannot_be_read(self) -> None:
        """A picture of no width: the stream is passed on with its profile and level, its size unknown."""
        bits = "1" + "010" + "1"
        broken = SPS[:18] + int(bits.ljust(16, "1"), 2).to_bytes(2, "big")
        self.assertRaises(MediaError, parse_hevc_sps, broken)
        track = hevc.hevc_track(1, hevc.hvcc_from_sets([VPS], [broken], [PPS]))
        self.assertEqual((track.width, track.height), (0, 0))
        self.assertEqual(hevc.hevc_name(track.config), "hvc1.1.6.L120.90")

    def test_sets_refused(self) -> None:
        for vps, sps, pps in (
            ([VPS], [], [PPS]),
            ([VPS], [SPS], []),
            ([], [PPS], [PPS]),
            ([], [SPS], [PPS] * 65),
        ):
            self.assertRaises(MediaError, hevc.hvcc_from_sets, vps, sps, pps)

    @given(st.data())
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_change(self, data: st.DataObject) -> None:
        record = bytearray(RECORD)
        for _ in range(data.draw(st.integers(1, 4))):
            record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
        try:
            track = hevc.hevc_track(1, bytes(record))
        except MediaError:
            return
        hevc.hevc_name(track.config)


class AccessUnitTests(SynchronousTestCase):
    """Access units behind lengths."""

    def test_annexb(self) -> None:
        delimiter, slice_nal = b"\x46\x01\x50", b"\x26\x01\xaf"
        unit = b"".join(len(nal).to_bytes(4, "big") + nal for nal in (delimiter, slice_nal))
        stream, begin, types = hevc.annexb(unit)
        self.assertEqual(bytes(stream[begin:]), b"\x00\x00\x00\x01" + slice_nal)
        self.assertEqual(types, 1 << 35 | 1 << 19)
        self.assertTrue(hevc.has_irap(unit))
        self.assertFalse(hevc.has_irap(b"\x00\x00\x00\x03\x02\x01\xaf"))

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        for read in (hevc.annexb, hevc.has_irap):
            try:
                read(data)
            except MediaError:
                pass
