"""Tests of L{restreamer.media.mpeg2}, L{restreamer.media.g711} and of layer II in L{restreamer.media.mp3}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import g711, mp3, mpeg2
from restreamer.media.codecs import codec_string
from restreamer.media.track import ALAW, MP2, ULAW

#: Sequence header and extension of an encoder: 320x180, 25 frames/s, main profile.
SEQUENCE = bytes.fromhex("000001b31400b433ffffe018000001b5148a00010000")
I_PICTURE = bytes.fromhex("000001000000fffffb80000001b5833ff34180") + b"\x00\x00\x01\x01slice"
I_PICTURE = I_PICTURE[:5] + b"\x08" + I_PICTURE[6:]
P_PICTURE = bytes.fromhex("0000010000d7fffb80000001b5833ff3418000000101")


class Mpeg2Tests(SynchronousTestCase):
    """Sequence headers and pictures."""

    def test_known(self) -> None:
        facts = mpeg2.parse_sequence(SEQUENCE)
        self.assertEqual((facts.width, facts.height, facts.frame_rate), (320, 180, 25_000))
        self.assertEqual(facts.profile, 0x48)

    def test_track(self) -> None:
        track = mpeg2.mpeg2_track(1, b"\x00" + SEQUENCE + b"\x00\x00\x01\xb8\x00\x08\x00\x00" + I_PICTURE)
        self.assertEqual((track.codec, track.config, track.width), ("mp2v", SEQUENCE, 320))
        self.assertEqual(codec_string(track), "mp4v.61")

    def test_mpeg1(self) -> None:
        track = mpeg2.mpeg2_track(1, SEQUENCE[:12] + I_PICTURE)
        self.assertEqual((track.config, codec_string(track)), (SEQUENCE[:12], "mp4v.6a"))

    def test_large_picture_and_odd_rate(self) -> None:
        """The extension adds two bits to each side and a fraction to the rate."""
        bits = f"{1:04b}{0x44:08b}101{1:02b}{2:02b}{0:012b}1{0:08b}0{1:02b}{2:05b}"
        bits += "0" * (-len(bits) % 8)
        extension = b"\x00\x00\x01\xb5" + int(bits, 2).to_bytes(len(bits) // 8, "big")
        facts = mpeg2.parse_sequence(SEQUENCE[:12] + extension)
        self.assertEqual((facts.width, facts.height), (320 + 4096, 180 + 8192))
        self.assertEqual(facts.frame_rate, 25_000 * 2 // 3)

    def test_keys(self) -> None:
        self.assertTrue(mpeg2.is_key(SEQUENCE + I_PICTURE))
        self.assertFalse(mpeg2.is_key(P_PICTURE))
        self.assertFalse(mpeg2.is_key(SEQUENCE))
        self.assertFalse(mpeg2.is_key(b"\x00\x00\x01\x00\x00"))

    def test_refused(self) -> None:
        for data in (b"", P_PICTURE, SEQUENCE[:8], b"\x00\x00\x01\xb3" + bytes(8), SEQUENCE + b"\x01" * 400):
            self.assertRaises(MediaError, mpeg2.mpeg2_track, 1, data)

    @given(st.binary(max_size=60))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        mpeg2.is_key(b"\x00\x00\x01\x00" + data)
        for head in (b"", SEQUENCE[:4], SEQUENCE[:16]):
            try:
                mpeg2.mpeg2_track(1, head + data)
            except MediaError:
                pass


class LayerTwoTests(SynchronousTestCase):
    """MPEG audio of layer II."""

    def test_known(self) -> None:
        header = mp3.parse_mpeg_audio_header(bytes.fromhex("fffde404"))
        self.assertEqual((header.layer, header.rate, header.size, header.samples), (2, 48_000, 1152, 1152))
        track = mp3.mpeg_audio_track(1, bytes.fromhex("fffde404"))
        self.assertEqual((track.codec, track.channels, codec_string(track)), (MP2, 2, "mp4a.40.33"))

    def test_low_rates_have_whole_frames(self) -> None:
        header = mp3.parse_mpeg_audio_header(bytes.fromhex("fff58400"))
        self.assertEqual((header.rate, header.bitrate, header.samples), (24_000, 64_000, 1152))
        self.assertEqual(header.size, 144 * 64_000 // 24_000)

    def test_not_mp3(self) -> None:
        self.assertRaises(MediaError, mp3.mp3_track, 1, bytes.fromhex("fffde404"))
        self.assertRaises(MediaError, mp3.mpeg_audio_track, 1, bytes.fromhex("ffffe404"))


class G711Tests(SynchronousTestCase):
    """A byte per sample."""

    def test_tracks(self) -> None:
        for codec in (ULAW, ALAW):
            track = g711.g711_track(2, codec, 16_000, 2)
            self.assertEqual((track.codec, track.sample_rate, track.channels), (codec, 16_000, 2))
            self.assertEqual(track.bandwidth, 256_000)
        self.assertEqual(g711.samples_duration(160), 1800)

    def test_refused(self) -> None:
        for codec, rate, channels in (("mp4a", 8000, 1), (ULAW, 0, 1), (ALAW, 8000, 0), (ALAW, 8000, 9)):
            self.assertRaises(MediaError, g711.g711_track, 1, codec, rate, channels)
