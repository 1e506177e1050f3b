"""Tests of L{restreamer.media.video_units}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.assemble import Av1Units, H264Units, HevcUnits, Mpeg2Units, Unit, Vp9Units
from restreamer.media.h264 import parse_avcc, split_nals
from restreamer.media.hevc import parse_hvcc
from restreamer.testing.media import AVCC, PPS, SPS
from test.media import test_av1, test_hevc, test_plain_codecs, test_vp9

AUD = b"\x09\xf0"
SEI = b"\x06\x05\x04abcd\x80"
IDR = b"\x65\x88\x80\x10"
#: Slices: first macroblock 0, then type 7 (I), 5 (P).
I_SLICE = bytes((0x41, 0b1_0001000, 0b0_1000000))
P_SLICE = bytes((0x41, 0b1_00110_00, 0x80))
OTHER_SPS = SPS[:-2] + b"\x11\x11"
HEVC_IDR, HEVC_CRA, HEVC_TRAIL = b"\x26\x01\xaf", b"\x2a\x01\xaf", b"\x02\x01\xd0"


def nals(data: bytes) -> list[bytes]:
    return [data[at : at + size] for at, size in split_nals(data)]


class H264Tests(SynchronousTestCase):
    """Access units of H.264."""

    def unit(self, units: H264Units | HevcUnits, *parts: bytes) -> Unit:
        unit = units.unit(parts)
        assert unit is not None
        return unit

    def test_first_keyframe(self) -> None:
        units = H264Units(3, language="eng")
        unit = self.unit(units, AUD, SPS, PPS, SEI, IDR)
        self.assertEqual(nals(unit.data), [SEI, IDR])
        self.assertTrue(unit.key)
        assert unit.track is not None
        self.assertEqual((unit.track.track_id, unit.track.width, unit.track.language), (3, 640, "eng"))
        self.assertEqual(unit.track.config, AVCC)
        self.assertIs(units.track, unit.track)

    def test_the_track_is_told_once(self) -> None:
        units = H264Units(1)
        self.unit(units, SPS, PPS, IDR)
        for parts in ((P_SLICE,), (AUD, SPS, PPS, IDR), (IDR,)):
            self.assertIsNone(self.unit(units, *parts).track)

    def test_nothing_before_the_sets(self) -> None:
        units = H264Units(1)
        for parts in ((P_SLICE,), (IDR,), (SPS, IDR), (), (b"",), (AUD,)):
            self.assertIsNone(units.unit(parts))

    def test_sets_by_themselves(self) -> None:
        """They come in packets of their own before the picture."""
        units = H264Units(1)
        self.assertIsNone(units.unit([SPS, PPS]))
        unit = self.unit(units, IDR)
        self.assertIsNotNone(unit.track)
        self.assertEqual(nals(unit.data), [IDR])

    def test_known_beforehand(self) -> None:
        units = H264Units(1, AVCC)
        unit = self.unit(units, P_SLICE)
        self.assertEqual((unit.key, unit.track), (False, units.track))
        unit = self.unit(units, SPS, PPS, IDR)
        self.assertIsNone(unit.track)
        self.assertEqual(nals(unit.data), [IDR])

    def test_bad_configuration_is_none(self) -> None:
        units = H264Units(1, AVCC[:-9])
        self.assertIsNone(units.unit([P_SLICE]))
        self.assertIsNotNone(units.unit([SPS, PPS, IDR]))

    def test_other_sets(self) -> None:
        units = H264Units(1)
        self.unit(units, SPS, PPS, IDR)
        unit = self.unit(units, OTHER_SPS, PPS, IDR)
        assert unit.track is not None
        self.assertEqual(parse_avcc(unit.track.config).sps, (OTHER_SPS,))

    def test_one_kind_alone_keeps_the_other(self) -> None:
        units = H264Units(1)
        self.unit(units, SPS, PPS, IDR)
        unit = self.unit(units, OTHER_SPS, IDR)
        assert unit.track is not None
        self.assertEqual(parse_avcc(unit.track.config).pps, (PPS,))

    def test_sets_between_keyframes_stay(self) -> None:
        units = H264Units(1)
        self.unit(units, SPS, PPS, IDR)
        unit = self.unit(units, PPS, P_SLICE)
        self.assertEqual((nals(unit.data), unit.track), ([PPS, P_SLICE], None))

    def test_keys(self) -> None:
        """IDR; a recovery point at once; I slices alone behind an SPS."""
        units = H264Units(1, AVCC)
        recovery, later = b"\x06\x06\x01\x84\x80", b"\x06\x06\x01\x44\x80"
        after_another = b"\x06\x05\x02ab\x06\x01\x84\x80"
        for key, parts in (
            (True, (IDR,)),
            (False, (I_SLICE,)),
            (True, (recovery, I_SLICE)),
            (True, (after_another, I_SLICE)),
            (False, (later, I_SLICE)),
            (False, (SEI, I_SLICE)),
            (True, (SPS, PPS, I_SLICE, I_SLICE)),
            (False, (SPS, PPS, I_SLICE, P_SLICE)),
            (False, (SPS, b"\x41")),
            (False, (b"\x06\xff\xff", P_SLICE)),
        ):
            self.assertEqual(self.unit(units, *parts).key, key, parts)

    @given(st.lists(st.lists(st.binary(max_size=20), max_size=6), max_size=6), st.booleans())
    @settings(deadline=None, max_examples=150, derandomize=True)
    def test_any_nals(self, pictures: list[list[bytes]], known: bool) -> None:
        for units in (H264Units(1, AVCC if known else b""), HevcUnits(1, test_hevc.RECORD if known else b"")):
            for picture in pictures:
                unit = units.unit(picture)
                if unit is not None:
                    split_nals(unit.data)


class HevcTests(SynchronousTestCase):
    """Access units of HEVC."""

    sets = (test_hevc.VPS, test_hevc.SPS, test_hevc.PPS)

    def test_first_keyframe(self) -> None:
        units = HevcUnits(1)
        self.assertIsNone(units.unit([HEVC_TRAIL]))
        unit = units.unit([b"\x46\x01\x50", *self.sets, HEVC_IDR])
        assert unit is not None and unit.track is not None
        self.assertEqual((nals(unit.data), unit.key), ([HEVC_IDR], True))
        self.assertEqual(unit.track.config, test_hevc.RECORD)

    def test_keys(self) -> None:
        units = HevcUnits(1, test_hevc.RECORD)
        for slice_nal, key in (
            (HEVC_IDR, True),
            (HEVC_CRA, True),
            (HEVC_TRAIL, False),
            (b"\x12\x01\xd0", False),
        ):
            unit = units.unit([slice_nal])
            assert unit is not None
            self.assertEqual(unit.key, key)

    def test_sets_that_cannot_be_read(self) -> None:
        units = HevcUnits(1)
        self.assertIsNone(units.unit([test_hevc.SPS[:9], test_hevc.PPS, HEVC_IDR]))
        self.assertIsNotNone(units.unit([*self.sets, HEVC_IDR]))
        unit = units.unit([test_hevc.SPS[:9], HEVC_IDR])
        assert unit is not None
        self.assertEqual(nals(unit.data), [test_hevc.SPS[:9], HEVC_IDR], "left for the decoder")

    def test_new_set(self) -> None:
        units = HevcUnits(1, test_hevc.RECORD)
        units.unit([HEVC_IDR])
        other = test_hevc.PPS + b"\x01"
        unit = units.unit([other, HEVC_CRA])
        assert unit is not None and unit.track is not None
        self.assertEqual(parse_hvcc(unit.track.config).pps, (other,))


class OtherTests(SynchronousTestCase):
    """Codecs whose keyframes describe themselves."""

    def test_av1(self) -> None:
        units = Av1Units(1, "fra")
        header, key, inter = test_av1.HEADER, test_av1.KEY_FRAME, test_av1.INTER_FRAME
        self.assertIsNone(units.unit([test_av1.DELIMITER, inter]))
        unit = units.unit([test_av1.DELIMITER, header, key[:1] + b"\x03\x10\x00\x86", b"\x7a\x01\x00"])
        assert unit is not None and unit.track is not None
        self.assertEqual((unit.data, unit.key, unit.track.language), (header + key, True, "fra"))
        unit = units.unit([b"\x30\x30\x03\x00"])
        assert unit is not None
        self.assertEqual((unit.data, unit.key, unit.track), (inter, False, None))
        unit = units.unit([header, key])
        assert unit is not None
        self.assertIsNone(unit.track)
        other = bytes.fromhex("0a0d0000000337fbe6d7ca81010482")
        unit = units.unit([other, key])
        assert unit is not None and unit.track is not None
        self.assertEqual(unit.track.width, 128)
        self.assertIsNone(units.unit([header]))
        self.assertIsNone(units.unit([]))
        self.assertRaises(MediaError, units.unit, [b"\x36"])

    def test_vp9(self) -> None:
        units = Vp9Units(1)
        self.assertIsNone(units.unit(test_vp9.INTER))
        unit = units.unit(test_vp9.KEY)
        assert unit is not None and unit.track is not None
        self.assertEqual((unit.key, unit.track.width, unit.track.height), (True, 320, 180))
        for frame, key in ((test_vp9.INTER, False), (test_vp9.KEY, True)):
            unit = units.unit(frame)
            assert unit is not None
            self.assertEqual((unit.data, unit.key, unit.track), (frame, key, None))
        unit = units.unit(bytes.fromhex("a24983420000fe00bec0c704"))
        assert unit is not None and unit.track is not None
        self.assertEqual(unit.track.width, 128)
        self.assertIsNone(units.unit(b""))
        unit = units.unit(test_vp9.KEY[:5])
        assert unit is not None
        self.assertIsNone(unit.track, "a broken keyframe changes nothing")

    def test_mpeg2(self) -> None:
        units = Mpeg2Units(1)
        whole = test_plain_codecs.SEQUENCE + test_plain_codecs.I_PICTURE
        self.assertIsNone(units.unit(test_plain_codecs.P_PICTURE))
        self.assertIsNone(units.unit(test_plain_codecs.I_PICTURE))
        self.assertIsNone(units.unit(test_plain_codecs.SEQUENCE))
        unit = units.unit(whole)
        assert unit is not None and unit.track is not None
        self.assertEqual((unit.data, unit.key, unit.track.width), (whole, True, 320))
        for picture, key in ((whole, True), (test_plain_codecs.P_PICTURE, False)):
            unit = units.unit(picture)
            assert unit is not None
            self.assertEqual((unit.key, unit.track), (key, None))

    @given(st.lists(st.binary(max_size=40), max_size=8))
    @settings(deadline=None, max_examples=150, derandomize=True)
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        av1, vp9, mpeg2 = Av1Units(1), Vp9Units(1), Mpeg2Units(1)
        for piece in pieces:
            vp9.unit(piece)
            mpeg2.unit(piece)
            try:
                av1.unit([piece])
            except MediaError:
                pass
