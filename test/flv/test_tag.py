"""L{restreamer.flv.tag}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import RemoteProtocolError
from restreamer.flv.tag import Packet, TagPart, parse_audio, parse_video

#: (name, body, parts)
VIDEO: list[tuple[str, bytes, list[TagPart]]] = [
    ("empty", b"", []),
    ("AVC header", b"\x17\0\0\0\0cfg", [TagPart("avc1", Packet.CONFIG, False, 0, 0, b"cfg")]),
    ("AVC keyframe", b"\x17\1\0\0\x50nal", [TagPart("avc1", Packet.FRAME, True, 80, 0, b"nal")]),
    ("AVC inter frame", b"\x27\1\xff\xff\xd8nal", [TagPart("avc1", Packet.FRAME, False, -40, 0, b"nal")]),
    ("AVC end", b"\x17\2\0\0\0", [TagPart("avc1", Packet.END, False, 0, 0, b"")]),
    ("legacy command frame", b"\x57\0", []),
    ("Sorenson", b"\x22abc", [TagPart("flv:2", Packet.OTHER, False, 0, 0, b"")]),
    ("extended header", b"\x90hvc1cfg", [TagPart("hvc1", Packet.CONFIG, True, 0, 0, b"cfg")]),
    ("CodedFrames", b"\x91avc1\0\0\x28nal", [TagPart("avc1", Packet.FRAME, True, 40, 0, b"nal")]),
    ("CodedFrames without offset", b"\xa1av01obu", [TagPart("av01", Packet.FRAME, False, 0, 0, b"obu")]),
    ("CodedFramesX", b"\xa3avc1nal", [TagPart("avc1", Packet.FRAME, False, 0, 0, b"nal")]),
    ("SequenceEnd", b"\x92avc1", [TagPart("avc1", Packet.END, True, 0, 0, b"")]),
    ("metadata", b"\x94hvc1amf", [TagPart("hvc1", Packet.METADATA, True, 0, 0, b"amf")]),
    ("TS SequenceStart", b"\x95av01cfg", [TagPart("av01", Packet.CONFIG, True, 0, 0, b"cfg")]),
    ("extended command frame", b"\xd1\0", []),
    ("unprintable FourCC", b"\x91\0\1\2 x", [TagPart("????", Packet.FRAME, True, 0, 0, b"x")]),
    ("ModEx", b"\x97\x02\0\0\1\x03avc1nal", [TagPart("avc1", Packet.FRAME, True, 0, 0, b"nal", 1)]),
    ("other ModEx", b"\x97\x02\0\0\1\x13avc1nal", [TagPart("avc1", Packet.FRAME, True, 0, 0, b"nal")]),
    ("absurd ModEx", b"\x97\x02\x0f\x42\x40\x03avc1x", [TagPart("avc1", Packet.FRAME, True, 0, 0, b"x")]),
    ("HEVC of before FourCCs", b"\x1c\1\0\0\x50x", [TagPart("hvc1", Packet.FRAME, True, 80, 0, b"x")]),
    ("AV1 descriptor", b"\x95av01\x80\4abcd", [TagPart("av01", Packet.CONFIG, True, 0, 0, b"abcd")]),
    (
        "two ModEx",
        b"\x97\x00z\x07\x02\0\0\1\x01avc1\0\0\0nal",
        [TagPart("avc1", Packet.FRAME, True, 0, 0, b"nal", 1)],
    ),
    (
        "long ModEx",
        b"\x97\xff\x01\x2b" + bytes(300) + b"\x03avc1nal",
        [TagPart("avc1", Packet.FRAME, True, 0, 0, b"nal")],
    ),
    ("one track", b"\x96\x01avc1\x02\0\0\x28nal", [TagPart("avc1", Packet.FRAME, True, 40, 2, b"nal")]),
    (
        "many tracks",
        b"\x96\x13avc1\0\0\0\3abc\1\0\0\2de",
        [
            TagPart("avc1", Packet.FRAME, True, 0, 0, b"abc"),
            TagPart("avc1", Packet.FRAME, True, 0, 1, b"de"),
        ],
    ),
    ("metadata in a command frame", b"\xd4hvc1amf", [TagPart("hvc1", Packet.METADATA, False, 0, 0, b"amf")]),
    ("ModEx before a command frame", b"\xd7\x02\0\0\1\x01\0", []),
    ("CodedFramesX of HEVC", b"\xa3hvc1nal", [TagPart("hvc1", Packet.FRAME, False, 0, 0, b"nal")]),
    ("CodedFrames of VVC", b"\x91vvc1\xff\xff\xd8nal", [TagPart("vvc1", Packet.FRAME, True, -40, 0, b"nal")]),
    ("CodedFrames of VP8", b"\xa1vp08x", [TagPart("vp08", Packet.FRAME, False, 0, 0, b"x")]),
    ("reserved packet type", b"\x98avc1x", [TagPart("avc1", Packet.OTHER, True, 0, 0, b"x")]),
    ("reserved multitrack form", b"\x96\x31avc1\0\0\0\1x", []),
    ("multitrack in multitrack", b"\x96\x06avc1\1x", [TagPart("avc1", Packet.OTHER, True, 0, 1, b"x")]),
    ("no tracks", b"\x96\x11avc1", []),
    ("one track, SequenceStart", b"\x96\0hvc1\1cfg", [TagPart("hvc1", Packet.CONFIG, True, 0, 1, b"cfg")]),
    ("one track, SequenceEnd", b"\x96\2hvc1\1", [TagPart("hvc1", Packet.END, True, 0, 1, b"")]),
    (
        "many tracks, CodedFrames",
        b"\xa6\x11hvc1\0\0\0\5\0\0\x28ab\2\0\0\4\xff\xff\xd8c",
        [
            TagPart("hvc1", Packet.FRAME, False, 40, 0, b"ab"),
            TagPart("hvc1", Packet.FRAME, False, -40, 2, b"c"),
        ],
    ),
    (
        "many tracks, many codecs, SequenceStart",
        b"\x96\x20avc1\0\0\0\3abcav01\1\0\0\2de",
        [
            TagPart("avc1", Packet.CONFIG, True, 0, 0, b"abc"),
            TagPart("av01", Packet.CONFIG, True, 0, 1, b"de"),
        ],
    ),
    (
        "ModEx before many tracks",
        b"\x97\x02\x01\x86\xa0\x06\x13avc1\0\0\0\1a\1\0\0\1b",
        [
            TagPart("avc1", Packet.FRAME, True, 0, 0, b"a", 100_000),
            TagPart("avc1", Packet.FRAME, True, 0, 1, b"b", 100_000),
        ],
    ),
    (
        "many tracks, many codecs",
        b"\x96\x21avc1\0\0\0\5\0\0\x28abhvc1\1\0\0\3\0\0\0",
        [
            TagPart("avc1", Packet.FRAME, True, 40, 0, b"ab"),
            TagPart("hvc1", Packet.FRAME, True, 0, 1, b""),
        ],
    ),
]

AUDIO: list[tuple[str, bytes, list[TagPart]]] = [
    ("silence", b"", []),
    ("AAC header", b"\xaf\0\x11\x90", [TagPart("mp4a", Packet.CONFIG, True, 0, 0, b"\x11\x90")]),
    ("AAC frame", b"\xaf\1raw", [TagPart("mp4a", Packet.FRAME, True, 0, 0, b"raw")]),
    ("AAC of an unknown kind", b"\xaf\2raw", [TagPart("mp4a", Packet.OTHER, True, 0, 0, b"raw")]),
    ("MP3", b"\x2f\xff\xfb", [TagPart(".mp3", Packet.FRAME, True, 0, 0, b"\xff\xfb")]),
    ("MP3 of 8 kHz", b"\xe2\xff\xfb", [TagPart(".mp3", Packet.FRAME, True, 0, 0, b"\xff\xfb")]),
    ("Speex", b"\xb2abc", [TagPart("flv:11", Packet.OTHER, True, 0, 0, b"")]),
    ("extended header", b"\x90Opuscfg", [TagPart("Opus", Packet.CONFIG, True, 0, 0, b"cfg")]),
    ("extended frame", b"\x91mp4araw", [TagPart("mp4a", Packet.FRAME, True, 0, 0, b"raw")]),
    ("end", b"\x92mp4a", [TagPart("mp4a", Packet.END, True, 0, 0, b"")]),
    ("channels", b"\x94mp4a\0\2", [TagPart("mp4a", Packet.METADATA, True, 0, 0, b"\0\2")]),
    ("ModEx", b"\x97\x02\x0f\x42\x3f\1mp4araw", [TagPart("mp4a", Packet.FRAME, True, 0, 0, b"raw", 999_999)]),
    ("A-law", b"\x72abc", [TagPart("alaw", Packet.FRAME, True, 0, 0, b"abc")]),
    ("mu-law, stereo", b"\x83abc", [TagPart("ulaw", Packet.FRAME, True, 0, 0, b"abc", 0, True)]),
    ("one track", b"\x95\x01mp4a\x01raw", [TagPart("mp4a", Packet.FRAME, True, 0, 1, b"raw")]),
    ("one track, SequenceStart", b"\x95\0Opus\x02cfg", [TagPart("Opus", Packet.CONFIG, True, 0, 2, b"cfg")]),
    ("AC-3", b"\x91ac-3\x0b\x77", [TagPart("ac-3", Packet.FRAME, True, 0, 0, b"\x0b\x77")]),
    ("E-AC-3", b"\x91ec-3\x0b\x77", [TagPart("ec-3", Packet.FRAME, True, 0, 0, b"\x0b\x77")]),
    ("FLAC", b"\x90fLaCinfo", [TagPart("fLaC", Packet.CONFIG, True, 0, 0, b"info")]),
    ("reserved packet type", b"\x93mp4ax", [TagPart("mp4a", Packet.OTHER, True, 0, 0, b"x")]),
    ("what is multitrack of video", b"\x96mp4ax", [TagPart("mp4a", Packet.OTHER, True, 0, 0, b"x")]),
    ("reserved multitrack form", b"\x95\xf1mp4a\0\0\0\1x", []),
    (
        "many tracks",
        b"\x95\x11mp4a\0\0\0\2ab\x07\0\0\0",
        [
            TagPart("mp4a", Packet.FRAME, True, 0, 0, b"ab"),
            TagPart("mp4a", Packet.FRAME, True, 0, 7, b""),
        ],
    ),
    (
        "many tracks, many codecs, with ModEx",
        b"\x97\x02\0\0\x09\x05\x21mp4a\0\0\0\1aOpus\1\0\0\2bc",
        [
            TagPart("mp4a", Packet.FRAME, True, 0, 0, b"a", 9),
            TagPart("Opus", Packet.FRAME, True, 0, 1, b"bc", 9),
        ],
    ),
]

BAD_VIDEO = [
    b"\x17",
    b"\x17\1\0\0",
    b"\x91avc",
    b"\x91avc1\0\0",
    b"\x97",
    b"\x97\x05ab",
    b"\x97\xff\0",
    b"\x97\x00z",
    b"\x96",
    b"\x96\x01av",
    b"\x96\x11avc1\0\0\0\x09ab",
    b"\x96\x21avc1\0\0",
    b"\x96\x11avc1" + b"\0\0\0\1x" * 17,
]


class FlvTagTests(SynchronousTestCase):
    """Bodies and parts."""

    def test_video(self) -> None:
        """Each body and its parts."""
        for name, body, parts in VIDEO:
            with self.subTest(name):
                self.assertEqual(parse_video(body), parts)

    def test_audio(self) -> None:
        """Each body and its parts."""
        for name, body, parts in AUDIO:
            with self.subTest(name):
                self.assertEqual(parse_audio(body), parts)

    def test_bad(self) -> None:
        """Cut bodies are refused."""
        for body in BAD_VIDEO:
            with self.subTest(body=body):
                self.assertRaises(RemoteProtocolError, parse_video, body)
        for body in (b"\xaf", b"\x91mp4", b"\x97", b"\x95", b"\x95\x01mp"):
            with self.subTest(body=body):
                self.assertRaises(RemoteProtocolError, parse_audio, body)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.sampled_from([b"", b"\x96", b"\x97", b"\x96\x11avc1", b"\x96\x21"]), st.binary(max_size=60))
    def test_any_bytes(self, head: bytes, rest: bytes) -> None:
        """Parts or the one error."""
        for parse in (parse_video, parse_audio):
            try:
                parse(head + rest)
            except RemoteProtocolError:
                pass
