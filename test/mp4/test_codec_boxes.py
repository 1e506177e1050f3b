"""Tests of L{restreamer.mp4.codec_boxes}: what it writes, our reader reads as it was."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.track import Track, TrackKind
from restreamer.mp4.boxes import Box
from restreamer.mp4.codec_boxes import box, esds, sample_entry
from restreamer.mp4.entry_track import track_of
from restreamer.mp4.sample_entry import read_sample_entry
from restreamer.testing.media import aac_track
from test.media.test_codecs import EVERY
from test.media.test_plain_codecs import SEQUENCE

#: Entries as another writer made them, without the boxes it adds (bit rate, pixel aspect).
OPUS_51 = (
    "0000003f4f707573000000000000000100000000000000000006001000000000bb80000000"
    "00001b644f7073000601380000bb800000010402000401020305"
)
AC3 = "0000002f61632d33000000000000000100000000000000000002001000000000bb8000000000000b64616333101140"


def read_back(entry: bytes, sample: bytes = b"") -> Track:
    stsd = b"\x00\x00\x00\x00\x00\x00\x00\x01" + entry
    _, found = read_sample_entry(stsd, Box(b"stsd", 0, len(stsd)))
    assert found is not None
    return track_of(found, lambda: sample)


class SampleEntryTests(SynchronousTestCase):
    """Sample entries with their configuration boxes."""

    def test_known(self) -> None:
        for text in (OPUS_51, AC3):
            entry = bytes.fromhex(text)
            track = read_back(entry)
            self.assertEqual(sample_entry(track).hex(), text)

    def test_every_codec_reads_back(self) -> None:
        for track, name, carried in EVERY:
            if "cmaf" not in carried and track.codec not in ("mp2v", ".mp2"):
                self.assertRaises(MediaError, sample_entry, track)
                continue
            sized = evolve(track, width=320, height=180) if track.kind is TrackKind.VIDEO else track
            first = bytes.fromhex("fffde404") if track.codec == ".mp2" else b""
            back = read_back(sample_entry(sized), first)
            self.assertEqual(
                (back.kind, back.codec, back.config), (track.kind, track.codec, track.config), name
            )
            self.assertEqual((back.sample_rate, back.channels), (track.sample_rate, track.channels), name)

    def test_no_configuration(self) -> None:
        for track, *_ in EVERY:
            if track.config:
                self.assertRaises(MediaError, sample_entry, evolve(track, config=b""))

    def test_rates(self) -> None:
        """The core's rate with SBR; 96 kHz does not fit and is told by the configuration."""
        wide = evolve(aac_track(), config=bytes.fromhex("1010"), timescale=96_000, sample_rate=96_000)
        self.assertEqual(sample_entry(wide)[32:36], bytes(4))
        self.assertEqual(read_back(sample_entry(wide)).sample_rate, 96_000)
        spectral = evolve(aac_track(), config=bytes.fromhex("2b118800"), timescale=24_000, sample_rate=48_000)
        self.assertEqual(sample_entry(spectral)[32:36].hex(), f"{24_000:04x}0000")

    def test_descriptors(self) -> None:
        """Sizes over 127 take more bytes (ISO/IEC 14496-1 section 8.3.3)."""
        video = esds(0x61, SEQUENCE * 8, 0x11, 4_000_000)
        self.assertEqual(video[:12], len(video).to_bytes(4, "big") + b"esds\x00\x00\x00\x00")
        self.assertEqual(video[12:17].hex(), "03808081" + f"{len(video) - 17 - 128:02x}")
        self.assertEqual(box(b"free", b"ab", b"c"), b"\x00\x00\x00\x0bfreeabc")
