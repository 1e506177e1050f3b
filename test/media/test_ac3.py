"""Tests of L{restreamer.media.ac3}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import ac3


def frame(head: str, size: int) -> bytes:
    """A sync frame whose header is known, the rest nothing."""
    return bytes.fromhex(head) + bytes(size - len(head) // 2)


#: Sync frames of an encoder, and the payload of dac3 or dec3 that its container writer made of them.
STEREO = frame("0b77fe95144043e106f46370", 768)
SURROUND_E = frame("0b77037f3f87c00020f80000", 1792)
STEREO_E = frame("0b77017f3487c00020842108", 768)


def enhanced(
    kind: int, substream: int, size: int, *, blocks: int = 3, acmod: int = 7, more: str = ""
) -> bytes:
    """An E-AC-3 sync frame of 48 kHz; C{more}: the bits behind bsid."""
    bits = f"{kind:02b}{substream:03b}{size // 2 - 1:011b}00{blocks:02b}{acmod:03b}1{16:05b}{more}"
    bits += "0" * (-len(bits) % 8)
    return frame("0b77" + int(bits, 2).to_bytes(len(bits) // 8, "big").hex(), size)


#: dialnorm, no compr, chanmap with the pair Lrs/Rrs.
SIDE_PAIR = f"{31:05b}01{1 << 9:016b}"


class SyncFrameTests(SynchronousTestCase):
    """Headers of both kinds."""

    def test_plain(self) -> None:
        head = ac3.parse_sync_frame(STEREO)
        self.assertEqual((head.size, head.rate, head.samples, head.channels), (768, 48_000, 1536, 2))

    def test_sizes(self) -> None:
        """ETSI TS 102 366 table 4.13: words by frmsizecod and rate."""
        for code, words in ((0, 64), (8, 128), (28, 768), (36, 1280), (37, 1280)):
            self.assertEqual(
                ac3.parse_sync_frame(bytes((0x0B, 0x77, 0, 0, code, 0x40, 0, 0))).size, 2 * words
            )
        for code, words in ((0, 69), (1, 70), (28, 835), (29, 836), (37, 1394)):
            data = bytes((0x0B, 0x77, 0, 0, 0x40 | code, 0x40, 0, 0))
            self.assertEqual(
                (ac3.parse_sync_frame(data).size, ac3.parse_sync_frame(data).rate), (2 * words, 44_100)
            )
        for code, words in ((0, 96), (36, 1920)):
            data = bytes((0x0B, 0x77, 0, 0, 0x80 | code, 0x40, 0, 0))
            self.assertEqual(ac3.parse_sync_frame(data).size, 2 * words)

    def test_enhanced(self) -> None:
        head = ac3.parse_sync_frame(SURROUND_E)
        self.assertEqual((head.enhanced, head.size, head.samples, head.channels), (True, 1792, 1536, 6))
        self.assertEqual(ac3.parse_sync_frame(enhanced(0, 0, 200, blocks=0)).samples, 256)

    def test_half_rate(self) -> None:
        bits = f"{0:02b}{0:03b}{99:011b}11{1:02b}{2:03b}0{16:05b}000"
        data = b"\x0b\x77" + int(bits, 2).to_bytes(4, "big") + bytes(8)
        head = ac3.parse_sync_frame(data)
        self.assertEqual((head.rate, head.samples), (22_050, 1536))

    def test_refused(self) -> None:
        for data in (
            b"",
            STEREO[:6],
            b"\x77\x0b" + STEREO[2:],
            frame("0b770000c040000000", 20),
            frame("0b7700002640000000", 20),
            frame("0b770000ff88000000", 20),
            frame("0b77c00000800000", 20),
            frame("0b7700000080000000", 20),
        ):
            self.assertRaises(MediaError, ac3.parse_sync_frame, data)

    @given(st.binary(max_size=40))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        for head in (b"", b"\x0b\x77"):
            for read in (ac3.parse_sync_frame, ac3.frame_sizes):
                try:
                    read(head + data)
                except MediaError:
                    pass
            try:
                ac3.ac3_track(1, head + data)
            except MediaError:
                pass


class TrackTests(SynchronousTestCase):
    """Tracks and the boxes in them."""

    def test_known_boxes(self) -> None:
        for unit, codec, config, channels in (
            (STEREO, "ac-3", "101140", 2),
            (STEREO_E, "ec-3", "0600200400", 2),
            (SURROUND_E, "ec-3", "0e00200f00", 6),
        ):
            track = ac3.ac3_track(1, unit)
            self.assertEqual((track.codec, track.config.hex(), track.channels), (codec, config, channels))

    def test_dependent_substream(self) -> None:
        """7.1: five and LFE, and a dependent substream that adds a pair (section F.6)."""
        unit = enhanced(0, 0, 1000) + enhanced(1, 0, 600, acmod=2, more=SIDE_PAIR)
        self.assertEqual(ac3.frame_sizes(unit), [1000, 600])
        track = ac3.ac3_track(1, unit)
        self.assertEqual(track.channels, 8)
        self.assertEqual(track.config[2:].hex(), f"{16 << 9 | 7 << 1 | 1:04x}" + f"{1 << 9 | 1 << 7:04x}")

    def test_pieces_of_few_blocks(self) -> None:
        """Six sync frames of one block: the bit rate is that of all of them."""
        whole = enhanced(0, 0, 128, blocks=0) * 6
        self.assertEqual(ac3.ac3_track(1, whole).config[:2].hex(), f"{192 << 3:04x}")

    def test_refused(self) -> None:
        for unit in (b"", STEREO[:-1], STEREO + b"\x00", enhanced(1, 0, 100), enhanced(0, 1, 100)):
            self.assertRaises(MediaError, ac3.ac3_track, 1, unit)
