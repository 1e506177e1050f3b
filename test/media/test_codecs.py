"""Tests of L{restreamer.media.codecs}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.codecs import codec_string, mpegts_can_carry
from restreamer.testing.media import aac_track, h264_track, mp3_track


class CodecStringTests(SynchronousTestCase):
    """RFC 6381 names."""

    def test_names(self) -> None:
        high = evolve(h264_track(), config=b"\x01\x64\x00\x28")
        self.assertEqual(codec_string(high), "avc1.640028")
        self.assertEqual(codec_string(h264_track()), "avc1.64001E")
        self.assertEqual(codec_string(aac_track()), "mp4a.40.2")
        self.assertEqual(codec_string(evolve(aac_track(), config=bytes.fromhex("2b118800"))), "mp4a.40.5")
        self.assertEqual(codec_string(evolve(aac_track(), config=bytes.fromhex("eb098800"))), "mp4a.40.29")
        self.assertEqual(codec_string(mp3_track()), "mp4a.40.34")

    def test_unknown(self) -> None:
        for track in (
            evolve(h264_track(), codec="zzzz"),
            evolve(h264_track(), config=b""),
            evolve(aac_track(), config=b""),
        ):
            self.assertRaises(MediaError, codec_string, track)


class MpegTsTests(SynchronousTestCase):
    """What MPEG-TS can carry."""

    def test_carried(self) -> None:
        for track in (h264_track(), aac_track(), mp3_track()):
            self.assertTrue(mpegts_can_carry(track))

    def test_not_carried(self) -> None:
        low_delay = evolve(aac_track(), config=bytes.fromhex("f8e85000"))
        for track in (evolve(h264_track(), codec="av01"), low_delay, evolve(aac_track(), config=b"")):
            self.assertFalse(mpegts_can_carry(track))
