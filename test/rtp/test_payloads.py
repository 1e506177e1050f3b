"""Payload formats both ways: what is packed comes out again, whatever is lost, and nothing else escapes."""

from __future__ import annotations

import random
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.av1 import leb128
from restreamer.media.g711 import g711_track
from restreamer.media.h264 import split_nals
from restreamer.media.opus import dops_for_channels, opus_track
from restreamer.media.track import ULAW, VP9, Track, TrackKind
from restreamer.media.video_units import Av1Units, HevcUnits, Unit, Vp9Units
from restreamer.rtp.formats import can_carry, format_of, packer_of
from restreamer.rtp.incoming import MediaSection, Unpacker, unpacker_of
from restreamer.rtp.pack_av1 import Av1Packer
from restreamer.rtp.pack_nal import HevcPacker
from restreamer.rtp.packet import MAX_PAYLOAD
from restreamer.rtp.unpack_av1 import Av1Unpacker
from restreamer.rtp.unpack_frames import Vp9Unpacker
from restreamer.rtp.unpack_nal import H264Unpacker, HevcUnpacker
from restreamer.testing.media import AVCC, PPS, SPS, aac_track, h264_track, make_frames, pattern, video_frames
from test.media.test_paired_units import PPS as FIELD_PPS
from test.media.test_paired_units import picture, sps

#: MPEG-1 layer III, 128 kbit/s, 48 kHz: 384 bytes.
MP3_HEAD = bytes.fromhex("fffb9400")
ENCODINGS = ("h264", "h265", "av1", "vp9", "mpa", "opus", "pcmu", "pcma")
GENERIC = {"sizelength": "13", "indexlength": "3", "indexdeltalength": "3", "config": "1190"}


def section(encoding: str, clock: int = 90_000, **parameters: str) -> MediaSection:
    return MediaSection(encoding=encoding, clock=clock, payload_type=96, parameters=parameters)


def told(track: Track) -> MediaSection:
    """What a description of C{track} says to a receiver."""
    form = format_of(track, 0)
    name, clock = form.encoding.split("/")[:2]
    parameters = dict(word.split("=", 1) for word in form.parameters.split(";") if "=" in word)
    return MediaSection(
        encoding=name.lower(), clock=int(clock), payload_type=form.payload_type, parameters=parameters
    )


def sent(track: Track, data: bytes, key: bool) -> list[bytes]:
    return [head + bytes(body) for head, body in packer_of(track).pieces(data, key)]


def received(
    unpacker: Unpacker, payloads: list[bytes], timestamp: int = 0, lost: int | None = None
) -> list[bytes]:
    """What comes of C{payloads}, the last of them marked; C{lost}: that one does not come."""
    found = []
    missing = False
    for index, payload in enumerate(payloads):
        if index == lost:
            missing = True
            continue
        for _, _, unit in unpacker.packet(payload, index == len(payloads) - 1, timestamp, missing):
            found.append(unit.data)
        missing = False
    return found


class VideoTests(SynchronousTestCase):
    """H.264 with access units as encoders make them; the others by the same units behind their headers."""

    def test_h264_comes_out_as_it_went_in(self) -> None:
        track = h264_track()
        unpacker = unpacker_of(1, told(track))
        for index, frame in enumerate(video_frames(3, bitrate=3_000_000)):
            payloads = sent(track, frame.data, frame.key)
            self.assertTrue(all(0 < len(payload) <= MAX_PAYLOAD for payload in payloads))
            self.assertEqual(received(unpacker, payloads, index), [frame.data])

    def test_the_track_comes_with_the_description(self) -> None:
        unpacker = unpacker_of(1, told(h264_track()))
        self.assertTrue(unpacker.track_known)
        frame = video_frames(1)[0]
        units = []
        payloads = sent(h264_track(), frame.data, True)
        for payload in payloads:
            units += unpacker.packet(payload, payload is payloads[-1], 0, False)
        track = units[0][2].track
        assert track is not None
        self.assertEqual((track.config, track.width, track.height), (AVCC, 640, 360))

    def test_in_band_sets_make_the_track(self) -> None:
        unpacker = unpacker_of(1, section("h264"))
        self.assertFalse(unpacker.track_known)
        frame = video_frames(1)[0]
        self.assertEqual(received(unpacker, sent(h264_track(), frame.data, True)), [frame.data])
        self.assertTrue(unpacker.track_known)

    def test_a_lost_packet_costs_its_access_unit_and_no_more(self) -> None:
        track = h264_track()
        frames = video_frames(2, bitrate=3_000_000)
        payloads = sent(track, frames[0].data, True)
        for lost in range(1, len(payloads)):
            unpacker = unpacker_of(1, told(track))
            got = received(unpacker, payloads, 0, lost)
            following = sent(track, frames[1].data, False)
            if lost == len(payloads) - 1:
                # The marked one is missing: the next packet tells that it is.
                got += [unit.data for _, _, unit in unpacker.packet(following[0], False, 1, True)]
                self.assertEqual(got, [])
                continue
            self.assertEqual(got, [], f"packet {lost} of {len(payloads)}")
            self.assertEqual(received(unpacker, following, 1), [frames[1].data])

    def test_hostile_h264(self) -> None:
        """Row S17."""
        for payloads in (
            [b"\x78\xff\xff\x65aa"],
            [b"\x78\x00\x00"],
            [b"\x7c\x05body", b"\x7c\x45body"],
            [b"\x7c\x85body", b"\x7c\x85body"],
            [b"\x7c"],
            [b"\x7c\x85"],
            [b"\x79\x00\x01\x00\x01a"],
            [b""],
            [b"\x1e\x00"],
        ):
            with self.subTest(payloads=payloads):
                unpacker = unpacker_of(1, told(h264_track()))
                self.assertEqual(received(unpacker, payloads), [])

    def test_two_fields_are_one_frame(self) -> None:
        """Whether each has a time of its own or not, whether the mark is on both or on the second."""
        pictures = [[sps(), FIELD_PPS, picture(0, "t", idr=True)], [picture(0, "b")]]
        pictures += [[picture(number, side)] for number in (1, 2) for side in "tb"]
        for step, marks in ((0, True), (1800, True), (0, False)):
            unpacker = unpacker_of(1, section("h264"))
            found = []
            for index, nals in enumerate(pictures):
                time = 3600 * (index // 2) + step * (index % 2)
                for nal in nals:
                    marker = nal is nals[-1] and (marks or index % 2 == 1)
                    found += unpacker.packet(nal, marker, time, False)
            self.assertEqual([time for time, _, _ in found], [0, 3600, 7200])
            self.assertEqual([unit.key for _, _, unit in found], [True, False, False])
            self.assertEqual([len(split_nals(unit.data)) for _, _, unit in found], [2, 2, 2])
        self.assertEqual(unpacker.packet(picture(3, "t"), True, 10800, False), [])
        self.assertEqual(unpacker.packet(b"\x7c", True, 12600, False)[0][0], 10800, "its other half is lost")

    def test_fragments_that_never_end_are_bounded(self) -> None:
        """Row S17."""
        unpacker = unpacker_of(1, told(h264_track()))
        unpacker.packet(b"\x7c\x85" + b"a" * 60_000, False, 0, False)
        for _ in range(200):
            unpacker.packet(b"\x7c\x05" + b"a" * 60_000, False, 0, False)
        self.assertIsInstance(unpacker, H264Unpacker)
        self.assertLess(len(cast(H264Unpacker, unpacker)._fragment or b""), 9 * 1024 * 1024)
        frame = video_frames(1)[1]
        self.assertEqual(received(unpacker, sent(h264_track(), frame.data, False), 9), [frame.data])

    def test_annex_b_in_a_packet(self) -> None:
        unpacker = unpacker_of(1, section("h264"))
        stream = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS + b"\x00\x00\x01\x65" + pattern(3, 50)
        [data] = received(unpacker, [stream])
        self.assertEqual([data[at] for at, _ in split_nals(data)], [0x65])

    def test_vp9(self) -> None:
        # An inter frame of profile 0: after a keyframe has told the track.
        unpacker = Vp9Unpacker(Vp9Units(1))
        key = bytes.fromhex("824983420027f0167006") + pattern(1, 5000)
        track = Track(track_id=1, kind=TrackKind.VIDEO, codec=VP9, config=bytes(8))
        inter = b"\x86\x00" + pattern(2, 3000)
        for index, (data, is_key) in enumerate(((key, True), (inter, False))):
            got = received(unpacker, sent(track, data, is_key), index)
            if unpacker.track_known:
                self.assertEqual(got, [data])

    def test_vp9_descriptors(self) -> None:
        """RFC 9628 section 4.2: every field there is."""
        for head in (
            "8c05",
            "8c8005",
            "bc0501",
            "ac850109",
            "cc05",
            "dc050302",
            "8e05" + "1880" * 0 + "00",
        ):
            unpacker = Vp9Unpacker(Vp9Units(1))
            unpacker.packet(bytes.fromhex(head) + b"frame", True, 0, False)


class AudioTests(SynchronousTestCase):
    """Audio formats."""

    def test_aac(self) -> None:
        track = aac_track()
        unpacker = unpacker_of(2, told(track))
        for size in (5, 300, 1384, 1385, 4000):
            data = pattern(size, size)
            self.assertEqual(received(unpacker, sent(track, data, True), size), [data])

    def test_several_units_in_a_packet(self) -> None:
        unpacker = unpacker_of(2, section("mpeg4-generic", 48_000, **GENERIC))
        payload = bytes.fromhex("0020 0018 0010".replace(" ", "")) + b"aaabb"
        self.assertEqual(
            [(later, unit.data) for _, later, unit in unpacker.packet(payload, True, 0, False)],
            [(0, b"aaa"), (1024, b"bb")],
        )

    def test_latm(self) -> None:
        """RFC 6416 section 7.3's form, as GStreamer announces it."""
        unpacker = unpacker_of(2, section("mp4a-latm", 48_000, cpresent="0", config="40002320" + "3fc0"))
        small, large = pattern(1, 100), pattern(2, 700)
        got = received(unpacker, [b"\x64" + small], 0) + received(
            unpacker, [b"\xff\xff\xbe" + large[:300], large[300:]], 1
        )
        self.assertEqual(got, [small, large])

    def test_mpeg_audio(self) -> None:
        track = Track(track_id=2, kind=TrackKind.AUDIO, codec=".mp3", sample_rate=48_000, channels=2)
        unpacker = unpacker_of(2, section("mpa"))
        frame = MP3_HEAD + pattern(5, 380)
        self.assertEqual(received(unpacker, sent(track, frame, True)), [frame])
        two = b"\x00\x00\x00\x00" + frame + frame
        self.assertEqual([later for _, later, _ in unpacker.packet(two, True, 0, False)], [0, 2160])
        parts = [b"\x00\x00\x00\x00" + frame[:200], b"\x00\x00\x00\xc8" + frame[200:]]
        self.assertEqual(received(unpacker, parts), [frame])
        self.assertEqual(received(unpacker, parts, lost=0), [])

    def test_opus(self) -> None:
        track = opus_track(2, dops_for_channels(2))
        unpacker = unpacker_of(2, told(track))
        self.assertEqual(received(unpacker, sent(track, b"\xfcpacket", True)), [b"\xfcpacket"])

    def test_g711(self) -> None:
        track = g711_track(2, ULAW)
        self.assertEqual(format_of(track, 0).payload_type, 0)
        self.assertEqual(b"".join(sent(track, pattern(1, 3000), True)), pattern(1, 3000))
        wide = g711_track(2, ULAW, 16_000, 2)
        self.assertEqual(format_of(wide, 1).encoding, "PCMU/16000/2")

    def test_what_cannot_be_carried(self) -> None:
        for codec in ("ac-3", "mp2v", "????"):
            self.assertFalse(can_carry(Track(track_id=1, kind=TrackKind.AUDIO, codec=codec)))
        self.assertFalse(can_carry(Track(track_id=1, kind=TrackKind.VIDEO, codec="avc1")))


PACKETS = st.tuples(st.binary(max_size=40), st.booleans(), st.integers(0, 2), st.booleans())


class AnyPayloadTests(SynchronousTestCase):
    """Whatever comes: no exception, bounded memory."""

    def unpackers(self) -> list[Unpacker]:
        found = [
            unpacker_of(1, section(name, 8000 if name.startswith("pcm") else 90_000)) for name in ENCODINGS
        ]
        found.append(unpacker_of(1, told(h264_track())))
        found.append(unpacker_of(1, section("mpeg4-generic", 48_000, **GENERIC)))
        found.append(unpacker_of(1, section("mp4a-latm", 48_000, cpresent="0", config="400023203fc0")))
        return found

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(
        st.lists(
            st.tuples(st.binary(max_size=40), st.booleans(), st.integers(0, 2), st.booleans()), max_size=8
        )
    )
    def test_random(self, packets: list[tuple[bytes, bool, int, bool]]) -> None:
        for unpacker in self.unpackers():
            for payload, marker, timestamp, lost in packets:
                unpacker.packet(payload, marker, timestamp, lost)

    def test_damaged(self) -> None:
        chance = random.Random(4)
        for frame in make_frames(0.4, video_bitrate=2_000_000):
            track = h264_track() if frame.track_id == 1 else aac_track()
            unpackers = self.unpackers()
            for payload in sent(track, frame.data, frame.key):
                damaged = bytearray(payload)
                for _ in range(3):
                    damaged[chance.randrange(min(12, len(damaged)))] = chance.randrange(256)
                for unpacker in unpackers:
                    unpacker.packet(bytes(damaged), bool(chance.randrange(2)), 0, False)


SETS = (b"\x40\x01v", b"\x42\x01s")


class _AnyUnits:
    """Takes whatever is whole, as it is."""

    track = None

    def unit(self, parts: list[bytes]) -> Unit:
        return Unit(b"".join(len(part).to_bytes(4, "big") + part for part in parts), False)


class WholeUnitsTests(SynchronousTestCase):
    """HEVC and AV1 by the sizes of their parts alone."""

    def test_hevc(self) -> None:
        packer = HevcPacker.__new__(HevcPacker)
        packer._sets = b"\x60\x01" + b"".join(len(nal).to_bytes(2, "big") + nal for nal in SETS)
        for sizes in ((10,), (1388, 1389), (4000, 3, 5000), (2, 30)):
            nals = [bytes((0x02, 1)) + pattern(size, size)[: max(1, size - 2)] for size in sizes]
            data = b"".join(len(nal).to_bytes(4, "big") + nal for nal in nals)
            payloads = [head + bytes(body) for head, body in packer.pieces(data, True)]
            unpacker = HevcUnpacker(cast(HevcUnits, _AnyUnits()))
            got = received(unpacker, payloads)
            sets = b"\x00\x00\x00\x03\x40\x01v\x00\x00\x00\x03\x42\x01s"
            self.assertEqual(got, [sets + data])

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.lists(st.integers(1, 4000), min_size=1, max_size=8))
    def test_av1(self, sizes: list[int]) -> None:
        obus = [b"\x32" + leb128(size) + pattern(size, size) for size in sizes]
        track = Track(track_id=1, kind=TrackKind.VIDEO, codec="av01")
        payloads = [head + bytes(body) for head, body in Av1Packer(track).pieces(b"".join(obus), False)]
        self.assertTrue(all(len(payload) <= MAX_PAYLOAD for payload in payloads))
        [data] = received(Av1Unpacker(cast(Av1Units, _AnyUnits())), payloads)
        wanted = [b"\x30" + pattern(size, size) for size in sizes]
        self.assertEqual(data, b"".join(len(part).to_bytes(4, "big") + part for part in wanted))
        for lost in range(len(payloads) - 1):
            got = received(Av1Unpacker(cast(Av1Units, _AnyUnits())), payloads, 0, lost)
            if lost:
                self.assertEqual(got, [])

    def test_av1_element_counts(self) -> None:
        """W says how many elements there are: the last has no length (section 4.4)."""
        unpacker = Av1Unpacker(cast(Av1Units, _AnyUnits()))
        [data] = received(unpacker, [b"\x20\x02\x30a\x30bc"])
        self.assertEqual(data, b"\x00\x00\x00\x02\x30a\x00\x00\x00\x03\x30bc")
        self.assertEqual(received(unpacker, [b"\x30\x02\x30a\x30bc"]), [])
        self.assertEqual(received(unpacker, [b"\x80\x02\x30a"]), [])
