"""Tests of L{restreamer.media.vp9}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import vp9

#: The first bytes of libvpx keyframes: the record, size, the name.
KNOWN = {
    "824983420013f00b36063824": ("000b820202020000", (320, 180), "vp09.00.11.08"),
    "924983425003f802fb031c12": ("020aa20902090000", (128, 96), "vp09.02.10.10.01.09.02.09.00"),
    "a24983420000fe00bec0c704": ("010a860202020000", (128, 96), "vp09.01.10.08.03.02.02.02.00"),
    "a24983420800fe00bec0c704": ("010a840202020000", (128, 96), "vp09.01.10.08.02.02.02.02.00"),
}
KEY = bytes.fromhex(next(iter(KNOWN)))
INTER = bytes.fromhex("86004092f121400000887f91")


class KeyframeTests(SynchronousTestCase):
    """The header of a keyframe."""

    def test_known(self) -> None:
        for text, (record, size, name) in KNOWN.items():
            frame = bytes.fromhex(text)
            facts = vp9.parse_keyframe(frame)
            self.assertEqual((facts.width, facts.height), size)
            self.assertEqual(vp9.vpcc_from_keyframe(frame).hex(), record)
            self.assertEqual(vp9.vp9_name(vp9.vpcc_from_keyframe(frame)), name)

    def test_key_or_not(self) -> None:
        self.assertTrue(vp9.is_key(KEY))
        for frame in (b"", INTER, b"\x02" + KEY[1:], bytes((KEY[0] | 8,)) + KEY[1:]):
            self.assertFalse(vp9.is_key(frame))
            self.assertRaises(MediaError, vp9.parse_keyframe, frame)
        # Profile 3 has a reserved bit before the frame type.
        self.assertTrue(vp9.is_key(b"\xb1"))
        self.assertFalse(vp9.is_key(b"\xb2"))

    def test_levels(self) -> None:
        """Annex A: by picture size and samples per second."""
        for size, rate, level in (
            ((256, 144), 15_000, 10),
            ((1280, 720), 30_000, 31),
            ((1920, 1080), 0, 40),
            ((1920, 1080), 60_000, 41),
            ((3840, 2160), 60_000, 51),
            ((16_000, 9000), 30_000, 62),
        ):
            self.assertEqual(vp9.level_of(*size, rate), level)

    def test_track(self) -> None:
        track = vp9.vp9_track(1, vp9.vpcc_from_keyframe(KEY), width=320, height=180)
        self.assertEqual((track.codec, track.width, track.config.hex()), ("vp09", 320, "000b820202020000"))
        for record in (b"", b"\x00" * 7, b"\x04\x0a\x82" + bytes(5), b"\x00\x0a\x72" + bytes(5)):
            self.assertRaises(MediaError, vp9.vp9_track, 1, record)

    @given(st.binary(max_size=20))
    @settings(deadline=None, max_examples=200, derandomize=True)
    def test_any_bytes(self, data: bytes) -> None:
        for head in (b"", b"\x82\x49\x83\x42", b"\xb1\x49\x83\x42"):
            vp9.is_key(head + data)
            for read in (vp9.vpcc_from_keyframe, vp9.vp9_name):
                try:
                    read(head + data)
                except MediaError:
                    pass
