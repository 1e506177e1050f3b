"""Tests of L{restreamer.media.opus}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import opus

#: dOps and OpusHead of the same encoder: stereo, and 5.1.
STEREO = ("000201380000bb80000000", "4f70757348656164010238" + "0180bb0000000000")
SURROUND = (
    "000601380000bb800000010402000401020305",
    "4f7075734865616401063801" + "80bb000000000104020004010203" + "05",
)


class HeadTests(SynchronousTestCase):
    """The two forms of the head."""

    def test_known(self) -> None:
        for dops, head in (STEREO, SURROUND):
            self.assertEqual(opus.head_from_dops(bytes.fromhex(dops)).hex(), head)
            self.assertEqual(opus.dops_from_head(bytes.fromhex(head)).hex(), dops)

    def test_facts(self) -> None:
        config = opus.parse_dops(bytes.fromhex(SURROUND[0]))
        self.assertEqual((config.channels, config.pre_skip, config.input_rate), (6, 312, 48_000))
        track = opus.opus_track(2, bytes.fromhex(SURROUND[0]) + b"more")
        self.assertEqual((track.codec, track.sample_rate, track.channels), ("Opus", 48_000, 6))
        self.assertEqual(track.config.hex(), SURROUND[0])

    def test_by_channels(self) -> None:
        """Mapping family 1 as RFC 7845 section 5.1.1.2 has it."""
        self.assertEqual(opus.dops_for_channels(6, 312).hex(), SURROUND[0])
        self.assertEqual(opus.dops_for_channels(1).hex(), "000100000000bb80000000")
        for channels in range(1, 9):
            self.assertEqual(opus.parse_dops(opus.dops_for_channels(channels)).channels, channels)
        for channels in (0, 9):
            self.assertRaises(MediaError, opus.dops_for_channels, channels)

    def test_refused(self) -> None:
        bad = {
            "empty": "",
            "cut": STEREO[0][:-2],
            "version 1": "01" + STEREO[0][2:],
            "no channels": "0000" + STEREO[0][4:],
            "three channels in family 0": "0003" + STEREO[0][4:],
            "mapping cut": SURROUND[0][:-2],
            "no streams": SURROUND[0][:22] + "0000" + SURROUND[0][26:],
            "more coupled than streams": SURROUND[0][:22] + "0203" + SURROUND[0][26:],
            "a channel that is not there": SURROUND[0][:-2] + "06",
        }
        for name, text in bad.items():
            with self.assertRaises(MediaError, msg=name):
                opus.opus_track(1, bytes.fromhex(text))
        for head in (b"", b"OpusHead", b"OpusTags" + bytes(11), b"OpusHead\x10" + bytes(10)):
            self.assertRaises(MediaError, opus.dops_from_head, head)

    @given(st.binary(max_size=40))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        for read in (opus.head_from_dops, opus.dops_from_head, opus.packet_duration):
            for head in (b"", b"OpusHead\x01"):
                try:
                    read(head + data)
                except MediaError:
                    pass


class DurationTests(SynchronousTestCase):
    """RFC 6716 section 3.1: TOC byte, table 2."""

    def test_frame_sizes(self) -> None:
        """Milliseconds of one frame by configuration, ten times."""
        silk, hybrid, celt = (100, 200, 400, 600), (100, 200), (25, 50, 100, 200)
        table = (*silk, *silk, *silk, *hybrid, *hybrid, *celt, *celt, *celt, *celt)
        for number, tenths in enumerate(table):
            self.assertEqual(opus.packet_duration(bytes((number << 3,))), tenths * 9)
            self.assertEqual(opus.packet_duration(bytes((number << 3 | 4,))), tenths * 9, "stereo")

    def test_codes(self) -> None:
        for packet, ticks in (
            ("f801", 1800),
            ("f901", 3600),
            ("fa01", 3600),
            ("fb03", 5400),
            ("fbc6", 10_800),
        ):
            self.assertEqual(opus.packet_duration(bytes.fromhex(packet)), ticks)

    def test_refused(self) -> None:
        for packet in ("", "fb", "fb00", "fb07", "1b03"):
            self.assertRaises(MediaError, opus.packet_duration, bytes.fromhex(packet))
