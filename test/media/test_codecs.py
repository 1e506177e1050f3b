"""Tests of L{restreamer.media.codecs}."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import codecs
from restreamer.media.ac3 import ac3_track
from restreamer.media.av1 import av1_track, av1c_from_sequence_header
from restreamer.media.codecs import codec_string, mpegts_can_carry, shown_codec
from restreamer.media.g711 import g711_track
from restreamer.media.hevc import hevc_track
from restreamer.media.mp3 import mpeg_audio_track
from restreamer.media.mpeg2 import mpeg2_track
from restreamer.media.opus import dops_for_channels, opus_track
from restreamer.media.track import Track
from restreamer.media.vp9 import vp9_track, vpcc_from_keyframe
from restreamer.testing.media import aac_track, h264_track, mp3_track
from test.media import test_ac3, test_av1, test_hevc, test_plain_codecs, test_vp9

#: A track of every codec; its name; where it goes: MPEG-TS, CMAF, RTMP of old, Enhanced RTMP, RTSP.
EVERY: list[tuple[Track, str, str]] = [
    (h264_track(), "avc1.64001E", "ts cmaf flv ertmp rtp"),
    (hevc_track(1, test_hevc.RECORD), "hvc1.1.6.L120.90", "ts cmaf ertmp rtp"),
    (av1_track(1, av1c_from_sequence_header(test_av1.HEADER)), "av01.0.00M.08", "cmaf ertmp rtp"),
    (vp9_track(1, vpcc_from_keyframe(test_vp9.KEY)), "vp09.00.11.08", "cmaf ertmp rtp"),
    (mpeg2_track(1, test_plain_codecs.SEQUENCE), "mp4v.61", "ts"),
    (aac_track(), "mp4a.40.2", "ts cmaf flv ertmp rtp"),
    (mp3_track(), "mp4a.40.34", "ts cmaf flv ertmp rtp"),
    (mpeg_audio_track(1, bytes.fromhex("fffde404")), "mp4a.40.33", "ts rtp"),
    (opus_track(1, dops_for_channels(2)), "opus", "ts cmaf ertmp rtp"),
    (ac3_track(1, test_ac3.STEREO), "ac-3", "ts cmaf ertmp"),
    (ac3_track(1, test_ac3.SURROUND_E), "ec-3", "ts cmaf ertmp"),
    (g711_track(1, "ulaw"), "ulaw", "flv ertmp rtp"),
    (g711_track(1, "alaw"), "alaw", "flv ertmp rtp"),
]
CARRIERS = {
    "ts": codecs.mpegts_can_carry,
    "cmaf": codecs.cmaf_can_carry,
    "flv": codecs.rtmp_legacy_can_carry,
    "ertmp": codecs.rtmp_can_carry,
    "rtp": codecs.rtp_can_carry,
}


class CodecStringTests(SynchronousTestCase):
    """RFC 6381 names."""

    def test_every_codec(self) -> None:
        for track, name, _ in EVERY:
            self.assertEqual(codec_string(track), name)

    def test_names(self) -> None:
        high = evolve(h264_track(), config=b"\x01\x64\x00\x28")
        self.assertEqual(codec_string(high), "avc1.640028")
        self.assertEqual(codec_string(evolve(aac_track(), config=bytes.fromhex("2b118800"))), "mp4a.40.5")
        self.assertEqual(codec_string(evolve(aac_track(), config=bytes.fromhex("eb098800"))), "mp4a.40.29")

    def test_unknown(self) -> None:
        for track in (
            evolve(h264_track(), codec="zzzz"),
            evolve(h264_track(), config=b""),
            evolve(aac_track(), config=b""),
            *(evolve(track, config=b"") for track, *_ in EVERY[1:5]),
        ):
            self.assertRaises(MediaError, codec_string, track)
            self.assertEqual(shown_codec(track), track.codec)

    def test_for_people(self) -> None:
        self.assertEqual(codecs.plain_names(tuple(track for track, *_ in EVERY[1:3])), "HEVC, AV1")
        self.assertEqual(codecs.plain_names(()), "no tracks")
        self.assertEqual(codecs.plain_name("zzzz"), "zzzz")


class CarryTests(SynchronousTestCase):
    """What each container can carry."""

    def test_every_codec(self) -> None:
        for track, name, carried in EVERY:
            seen = " ".join(word for word, can_carry in CARRIERS.items() if can_carry(track))
            self.assertEqual(seen, carried, name)

    def test_not_by_their_configuration(self) -> None:
        low_delay = evolve(aac_track(), config=bytes.fromhex("f8e85000"))
        odd_order = evolve(
            opus_track(1, dops_for_channels(6)),
            config=bytes.fromhex("000601380000bb800000010402000102030405"),
        )
        for track in (low_delay, odd_order, evolve(aac_track(), config=b""), evolve(EVERY[8][0], config=b"")):
            self.assertFalse(mpegts_can_carry(track))
        self.assertFalse(codecs.cmaf_can_carry(evolve(h264_track(), config=b"")))
