"""Tests of L{restreamer.media.aac} and L{restreamer.media.mp3}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import aac, mp3

#: AudioSpecificConfig: object type, core rate, output rate, channels, signalled type.
KNOWN_ASC = {
    "1190": (2, 48000, 48000, 2, 2),
    "118856e500": (2, 48000, 48000, 1, 2),
    "1210": (2, 44100, 44100, 2, 2),
    "0990": (1, 48000, 48000, 2, 1),
    "2b118800": (2, 24000, 48000, 2, 5),
    "eb098800": (2, 24000, 48000, 2, 29),
    "139056e59d4880": (2, 22050, 48000, 2, 29),
    "139056e598": (2, 22050, 48000, 2, 5),
    "f8e85000": (39, 44100, 44100, 2, 39),
    "11b0": (2, 48000, 48000, 6, 2),
    "11b8": (2, 48000, 48000, 8, 2),
    "178040001000": (2, 32768, 32768, 2, 2),
    "118004c808002008840d4c61766335392e33372e31303056e500": (2, 48000, 48000, 6, 2),
}


class AscTests(SynchronousTestCase):
    """AudioSpecificConfig."""

    def test_known(self) -> None:
        for text, expected in KNOWN_ASC.items():
            config = aac.parse_asc(bytes.fromhex(text))
            seen = (config.object_type, config.sample_rate, config.output_rate, config.channels)
            self.assertEqual((*seen, config.signalled_type), expected, text)

    def test_frame_of_960(self) -> None:
        self.assertEqual(aac.parse_asc(bytes.fromhex("1194")).frame_samples, 960)

    def test_program_config_element(self) -> None:
        """The element is the one that a known encoder puts before its ADTS frames."""
        config = aac.parse_asc(bytes.fromhex("118004c808002008840d4c61766335392e33372e31303056e500"))
        self.assertEqual(config.pce.hex(), "a0990100040110800d4c61766335392e33372e313030")
        self.assertEqual(config.channel_config, 0)

    def test_refused(self) -> None:
        bad = {
            "empty": "",
            "one byte": "11",
            "object type 0": "0190",
            "rate index 13": "1690",
            "rate index 14": "1710",
            "rate 0": "178000000000",
            "rate too high": "17ffffffff80",
            "rate cut off": "1780",
            "channels 8": "11c0",
            "channels 15": "11f8",
            "PCE missing": "1180",
            "PCE cut off": "118004c80800",
            "PCE of no channels": "118004c00000000000",
            "long": "1190" + "00" * 2000,
        }
        for name, text in bad.items():
            with self.assertRaises(MediaError, msg=name):
                aac.parse_asc(bytes.fromhex(text))

    def test_trailing_noise_is_ignored(self) -> None:
        for tail in ("56", "56e5", "56e5f8", "56e5ff", "ffffffffff", "56e5e8"):
            self.assertEqual(aac.parse_asc(bytes.fromhex("1190" + tail)).output_rate, 48000)

    def test_track(self) -> None:
        track = aac.aac_track(7, bytes.fromhex("2b118800"), 64_000)
        self.assertEqual((track.track_id, track.timescale, track.sample_rate), (7, 24000, 48000))
        self.assertEqual((track.channels, track.config.hex(), track.bandwidth), (2, "2b118800", 64_000))

    @settings(deadline=None, max_examples=400, derandomize=True)
    @given(st.binary(max_size=40))
    def test_only_media_error(self, data: bytes) -> None:
        for prefix in (b"", b"\x11\x80", b"\x17\x80", b"\x13\x90\x56\xe5", b"\x2b\x11"):
            try:
                config = aac.parse_asc(prefix + data)
            except MediaError:
                continue
            self.assertGreater(config.sample_rate, 0)
            if config.fits_adts:
                self.assertEqual(len(aac.adts_header(config, 100)), 7)
            else:
                self.assertRaises(MediaError, aac.adts_header, config, 100)


class AdtsTests(SynchronousTestCase):
    """The ADTS header."""

    def test_known(self) -> None:
        config = aac.parse_asc(bytes.fromhex("1190"))
        self.assertEqual(aac.adts_header(config, 300).hex(), "fff14c80267ffc")
        mono = aac.parse_asc(bytes.fromhex("1388"))
        self.assertEqual(aac.adts_header(mono, 1).hex(), "fff15c40011ffc")

    def test_size_limits(self) -> None:
        config = aac.parse_asc(bytes.fromhex("1190"))
        self.assertEqual(aac.adts_header(config, 8184).hex(), "fff14c83fffffc")
        self.assertRaises(MediaError, aac.adts_header, config, 8185)
        self.assertRaises(MediaError, aac.adts_header, config, 0)

    def test_rate_of_its_own_takes_the_nearest_tables(self) -> None:
        """ISO/IEC 14496-3 table 4.82."""
        nearest = {
            100_000: 0,
            92017: 0,
            92016: 1,
            46000: 4,
            32768: 5,
            20_000: 7,
            1000: 11,
            7350: 12,
            48000: 3,
        }
        for rate, index in nearest.items():
            self.assertEqual(aac.rate_index(rate), index, rate)


class Mp3Tests(SynchronousTestCase):
    """MP3 frame headers."""

    def test_known(self) -> None:
        table = {
            "fffb94c4": (48000, 1, 1152, 128_000, 384, True),
            "fff380c4": (22050, 1, 576, 64_000, 208, False),
            "fffb9064": (44100, 2, 1152, 128_000, 417, True),
            "fffb9264": (44100, 2, 1152, 128_000, 418, True),
            "ffe340c4": (11025, 1, 576, 32_000, 208, False),
            "fffb0064": (44100, 2, 1152, 0, 0, True),
        }
        for text, expected in table.items():
            header = mp3.parse_mp3_header(bytes.fromhex(text))
            seen = (header.rate, header.channels, header.samples, header.bitrate, header.size, header.mpeg1)
            self.assertEqual(seen, expected, text)

    def test_refused(self) -> None:
        for text in ("", "fffb90", "00fb9064", "fffbf064", "fffb9c64", "fffd9064", "fff99064", "ffeb9064"):
            self.assertRaises(MediaError, mp3.parse_mp3_header, bytes.fromhex(text))

    def test_track(self) -> None:
        track = mp3.mp3_track(2, bytes.fromhex("fff380c4") + bytes(204))
        self.assertEqual(
            (track.codec, track.sample_rate, track.channels, track.config), (".mp3", 22050, 1, b"")
        )

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.binary(max_size=6))
    def test_only_media_error(self, data: bytes) -> None:
        for prefix in (b"", b"\xff", b"\xff\xfb"):
            try:
                self.assertGreater(mp3.parse_mp3_header(prefix + data).rate, 0)
            except MediaError:
                pass
