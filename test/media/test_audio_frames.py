"""Tests of L{restreamer.media.audio_frames}."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.aac import adts_config, adts_header, parse_asc
from restreamer.media.assemble import Ac3Frames, AdtsFrames, MpegAudioFrames, OpusFrames
from test.media.test_ac3 import SIDE_PAIR, STEREO, SURROUND_E, enhanced

ASC = bytes.fromhex("1190")
CD = bytes.fromhex("1210")
Frames = AdtsFrames | MpegAudioFrames | Ac3Frames | OpusFrames


def adts(raw: bytes, asc: bytes = ASC) -> bytes:
    return adts_header(parse_asc(asc), len(raw)) + raw


def mp2(fill: int) -> bytes:
    return bytes.fromhex("fffde404") + bytes((fill,)) * 1148


def mp3(fill: int) -> bytes:
    return bytes.fromhex("fffb9464") + bytes((fill,)) * 380


def opus(packet: bytes, flags: int = 0, more: bytes = b"") -> bytes:
    return (
        bytes((0x7F, 0xE0 | flags))
        + b"\xff" * (len(packet) // 255)
        + bytes((len(packet) % 255,))
        + more
        + packet
    )


RAW = [bytes((0x21, number)) * (5 + number) for number in range(8)]
MP2 = [mp2(number) for number in range(4)]
MP3 = [mp3(number) for number in range(4)]
AC3 = [STEREO[:100] + bytes((number,)) * 668 for number in range(4)]
EAC3 = [
    enhanced(0, 0, 300 + 2 * number, blocks=2)
    + enhanced(1, 0, 200, acmod=2, more=SIDE_PAIR)
    + enhanced(0, 0, 310, blocks=2)
    + enhanced(1, 0, 202, acmod=2, more=SIDE_PAIR)
    for number in range(4)
]
OPUS = [bytes((0xFC, number)) * size for number, size in enumerate((3, 200, 128, 400))]
#: How each is found, its frames, how they stand in the stream, ticks from one to the next.
CASES: list[tuple[Callable[[], Frames], list[bytes], list[bytes], int]] = [
    (lambda: AdtsFrames(1), RAW, [adts(raw) for raw in RAW], 1920),
    (lambda: MpegAudioFrames(1), MP2, MP2, 2160),
    (lambda: MpegAudioFrames(1), MP3, MP3, 2160),
    (lambda: Ac3Frames(1), AC3, AC3, 2880),
    (lambda: Ac3Frames(1), EAC3, EAC3, 2880),
    (lambda: OpusFrames(1), OPUS, [opus(packet) for packet in OPUS], 1800),
]


class EveryCodecTests(SynchronousTestCase):
    """What holds for all of them."""

    def test_all_at_once(self) -> None:
        for make, expected, stream, step in CASES:
            frames = make()
            found = frames.frames(b"".join(stream))
            self.assertEqual([frame for frame, _ in found], expected)
            self.assertEqual(
                [offset for _, offset in found], [step * number for number in range(len(expected))]
            )
            self.assertEqual(frames.lost, 0)

    def test_cut_inside_a_frame(self) -> None:
        """The time of the second packet belongs to the first frame that begins in it."""
        for make, expected, stream, step in CASES:
            frames = make()
            cut = len(stream[0]) + len(stream[1]) // 2
            whole = b"".join(stream)
            self.assertEqual(frames.frames(whole[:cut]), [(expected[0], 0)])
            found = frames.frames(whole[cut:])
            self.assertEqual([frame for frame, _ in found], expected[1:])
            self.assertEqual(
                [offset for _, offset in found], [step * (number - 1) for number in range(len(found))]
            )

    def test_garbage_before(self) -> None:
        for make, expected, stream, _ in CASES:
            frames = make()
            junk = b"\x00\xff\x0b\x7f\x77" * 9
            found = frames.frames(junk + b"".join(stream))
            self.assertEqual([frame for frame, _ in found], expected)
            self.assertEqual((found[0][1], frames.lost), (0, len(junk)))

    def test_reset(self) -> None:
        for make, expected, stream, _ in CASES:
            frames = make()
            frames.frames(stream[0] + stream[1][:50])
            frames.reset()
            self.assertEqual(frames.frames(stream[2]), [(expected[2], 0)])

    def test_language(self) -> None:
        for kind in (AdtsFrames, MpegAudioFrames, Ac3Frames, OpusFrames):
            frames = kind(7, "deu")
            self.assertIsNone(frames.track)
            stream = next(stream for make, _, stream, _ in CASES if isinstance(make(), kind))
            frames.frames(stream[0])
            assert frames.track is not None
            self.assertEqual((frames.track.track_id, frames.track.language), (7, "deu"))

    @given(st.data())
    @settings(deadline=None, max_examples=60, derandomize=True)
    def test_any_cuts(self, data: st.DataObject) -> None:
        make, expected, stream, _ = data.draw(st.sampled_from(CASES))
        whole = b"".join(stream)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        frames = make()
        # What an access unit of E-AC-3 has in it is known from the one before.
        frames.frames(stream[0] + stream[0])
        frames.reset()
        self.assertEqual([frame for piece in pieces for frame, _ in frames.frames(piece)], expected)

    @given(st.data())
    @settings(deadline=None, max_examples=150, derandomize=True)
    def test_any_bytes(self, data: st.DataObject) -> None:
        make, _, stream, _ = data.draw(st.sampled_from(CASES))
        frames = make()
        damaged = bytearray(b"".join(stream))
        for _ in range(data.draw(st.integers(0, 6))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        frames.frames(data.draw(st.binary(max_size=30)))
        frames.frames(bytes(damaged))
        frames.frames(data.draw(st.binary(max_size=30)))


class AdtsTests(SynchronousTestCase):
    """What is particular to AAC."""

    def test_track_follows_the_header(self) -> None:
        frames = AdtsFrames(1)
        frames.frames(adts(RAW[0]))
        self.assertEqual(frames.track and frames.track.config, ASC)
        frames.frames(adts(RAW[1], CD))
        self.assertEqual(frames.track and frames.track.config, CD)

    def test_odd_rate(self) -> None:
        """1024 samples of 44.1 kHz are no whole number of ticks; they do not add up to a drift."""
        frames = AdtsFrames(1)
        found = frames.frames(b"".join(adts(RAW[0], CD) for _ in range(44)))
        self.assertEqual([offset for _, offset in found], [n * 1024 * 90_000 // 44_100 for n in range(44)])

    def test_crc(self) -> None:
        header = bytearray(adts_header(parse_asc(ASC), len(RAW[0]) + 2))
        header[1] &= 0xFE
        self.assertEqual(AdtsFrames(1).frames(bytes(header) + b"\xab\xcd" + RAW[0]), [(RAW[0], 0)])

    def test_several_blocks_are_left_out(self) -> None:
        header = bytearray(adts(RAW[0]))
        header[6] |= 1
        frames = AdtsFrames(1)
        found = frames.frames(bytes(header) + adts(RAW[1]))
        self.assertEqual(found, [(RAW[1], 2 * 1920)])
        self.assertEqual(frames.lost, len(header))

    def test_channels_in_an_element(self) -> None:
        """Channel configuration 0: the element goes into the configuration and leaves the frames."""
        asc = parse_asc(bytes.fromhex("118004c808002008840d4c61766335392e33372e31303056e500"))
        stream = adts_header(asc, len(asc.pce) + 10) + asc.pce + b"0123456789"
        frames = AdtsFrames(1)
        self.assertEqual([frame for frame, _ in frames.frames(stream * 2)], [b"0123456789"] * 2)
        assert frames.track is not None
        again = parse_asc(frames.track.config)
        self.assertEqual((again.channels, again.pce), (6, asc.pce))

    def test_channels_nowhere(self) -> None:
        header = bytes.fromhex("fff14c00017ffc")
        self.assertRaises(MediaError, adts_config, header, b"\x21\x10")


class Ac3Tests(SynchronousTestCase):
    """What is particular to AC-3."""

    def test_track_changes_with_what_matters(self) -> None:
        frames = Ac3Frames(1)
        frames.frames(STEREO)
        before = frames.track
        frames.frames(STEREO[:50] + b"\x01" * 718)
        self.assertIs(frames.track, before)
        frames.frames(SURROUND_E)
        self.assertEqual(frames.track and (frames.track.codec, frames.track.channels), ("ec-3", 6))

    def test_bit_rate_alone_changes_nothing(self) -> None:
        frames = Ac3Frames(1)
        frames.frames(enhanced(0, 0, 300))
        before = frames.track
        frames.frames(enhanced(0, 0, 500))
        self.assertIs(frames.track, before)

    def test_a_dependent_substream_alone_is_lost(self) -> None:
        frames = Ac3Frames(1)
        self.assertEqual(frames.frames(enhanced(1, 0, 200) + SURROUND_E), [(SURROUND_E, 0)])
        self.assertEqual(frames.lost, 200)


class OpusTests(SynchronousTestCase):
    """What is particular to Opus in MPEG-TS."""

    def test_trimming_and_extension(self) -> None:
        for flags, more in ((0x10, b"\x01\x38"), (0x08, b"\x00\x10"), (0x1C, b"\x01\x38\x00\x10\x02ab")):
            self.assertEqual(OpusFrames(1).frames(opus(OPUS[1], flags, more)), [(OPUS[1], 0)])

    def test_size_of_whole_255s(self) -> None:
        packet = b"\xfc" * 510
        self.assertEqual(OpusFrames(1).frames(b"\x7f\xe0\xff\xff\x00" + packet), [(packet, 0)])

    def test_channels(self) -> None:
        frames = OpusFrames(1, channels=6)
        frames.frames(opus(OPUS[0]))
        self.assertEqual(frames.track and frames.track.channels, 6)

    def test_sizes_without_end(self) -> None:
        frames = OpusFrames(1)
        for _ in range(40):
            self.assertEqual(frames.frames(b"\x7f\xe0" + b"\xff" * 5000), [])
        self.assertGreater(frames.lost, 100_000)
