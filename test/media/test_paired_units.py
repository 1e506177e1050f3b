"""Fields of H.264: which access units are fields, and which two of them are one frame."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.media.h264_fields import Field, field_of, field_sets
from restreamer.media.h264_sps import parse_sps
from restreamer.media.paired_units import PairedUnits
from restreamer.media.video_units import H264Units, Unit


def ue(value: int) -> str:
    """ue(v)."""
    text = bin(value + 1)[2:]
    return "0" * (len(text) - 1) + text


def nal(head: int, bits: str) -> bytes:
    """A NAL unit of C{bits}, with its stop bit."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return bytes((head,)) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def sps(fields: bool = True, adaptive: bool = False, number_bits: int = 8) -> bytes:
    """Main profile, 1920x1088."""
    profile = f"{77:08b}{0:08b}{40:08b}"
    order = ue(0) + ue(2)
    size = ue(4) + "0" + ue(119) + ue(33 if fields else 67)
    coding = ("0" + str(int(adaptive))) if fields else "1"
    return nal(0x67, profile + ue(0) + ue(number_bits - 4) + order + size + coding + "1" + "0" + "0")


PPS = nal(0x68, ue(0) + ue(0) + "1" + "0" * 20)


def picture(number: int, field: str = "", idr: bool = False, kind: int = 5, mb: int = 0) -> bytes:
    """A slice. @param field: C{"t"}, C{"b"} or empty; @param kind: slice_type."""
    head = ue(mb) + ue(7 if idr else kind) + ue(0) + f"{number:08b}"
    told = {"": "0", "t": "10", "b": "11"}[field]
    order = (ue(1) if idr else "") + f"{number * 2 % 64:06b}"
    return nal(0x65 if idr else 0x41, head + told + order + "1" * 60)


class FieldTests(SynchronousTestCase):
    def test_what_a_slice_says(self) -> None:
        sets = field_sets([sps()], [PPS])
        self.assertEqual(field_of(sets, [picture(200, "b")]), Field(True, 200, False))
        self.assertEqual(field_of(sets, [picture(0, "t", idr=True)]), Field(False, 0, True))
        self.assertEqual(
            field_of(sets, [picture(9, "t"), picture(9, "t", mb=4000)]), Field(False, 9, False), "slices"
        )
        self.assertIsNone(field_of(sets, [picture(9, "t"), picture(9, "b")]), "both fields are there")
        self.assertIsNone(field_of(sets, [picture(3)]))
        self.assertIsNone(field_of(sets, [b"\x06\x01\x80"]))
        self.assertIsNone(field_of(sets, [b"\x41\x80"]), "it ends early")
        self.assertIsNone(field_of(field_sets([sps(fields=False)], [PPS]), [picture(3)]))
        self.assertEqual(field_sets([b"\x67", b""], [PPS, b"\x68"]).by_pps, {})
        facts = parse_sps(sps())
        self.assertEqual((facts.height, facts.frame_num_bits, facts.frames_only), (1088, 8, False))

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_any_bytes(self, first: bytes, second: bytes) -> None:
        field_sets([sps(), b"\x67" + first], [PPS, b"\x68" + second])
        field_of(field_sets([sps()], [PPS]), [b"\x41" + first, b"\x65" + second])


class PairTests(SynchronousTestCase):
    def pair(self, *pictures: bytes) -> list[tuple[int, Unit]]:
        """Each picture is an access unit of its own, its stamp is its place."""
        units = H264Units(1)
        pairs: PairedUnits[int] = PairedUnits()
        found = []
        for place, each in enumerate(pictures):
            unit = units.unit([sps(), PPS, each] if not place else [each])
            assert unit is not None
            found += pairs.take(place, unit)
        return found + pairs.flush()

    def places(self, *pictures: bytes) -> list[tuple[int, int]]:
        """Stamp of each unit, and how many NAL units are in it."""
        return [(place, unit.data.count(b"\x00\x00\x00")) for place, unit in self.pair(*pictures)]

    def test_fields_in_turn(self) -> None:
        """An IDR field with a P field, then P fields; frames between them go straight through."""
        given = (picture(0, "t", idr=True), picture(0, "b"), picture(1, "t"), picture(1, "b"), picture(2))
        found = self.pair(*given)
        self.assertEqual([place for place, _ in found], [0, 2, 4])
        self.assertEqual([unit.key for _, unit in found], [True, False, False])
        self.assertIsNotNone(found[0][1].track)
        for (_, unit), parts in zip(found, (given[:2], given[2:4], given[4:]), strict=True):
            self.assertEqual(unit.data, b"".join(len(each).to_bytes(4, "big") + each for each in parts))
            self.assertIsNone(unit.field)

    def test_what_is_no_pair(self) -> None:
        idr = picture(0, "t", idr=True)
        for pictures, wanted in (
            ((idr, picture(1, "t"), picture(1, "b")), [0, 1]),
            ((idr, picture(1, "b")), [0, 1]),
            ((idr, picture(0, "b"), picture(1, "t"), picture(2, "t"), picture(2, "b")), [0, 2, 3]),
            ((idr, picture(0, "b"), picture(1, "t"), picture(2), picture(3, "t")), [0, 2, 3, 4]),
            ((idr, picture(0, "b"), picture(0, "t"), picture(0, "b", idr=True)), [0, 2, 3]),
        ):
            with self.subTest(wanted):
                self.assertEqual([place for place, _ in self.pair(*pictures)], wanted)

    def test_a_lost_first_field(self) -> None:
        """The pictures that follow, of the same frame_num (none is referred to), stay together."""
        start = (picture(0, "t", idr=True), picture(0, "b"))
        found = self.pair(*start, picture(1, "b"), picture(1, "t"), picture(1, "b"), picture(1, "t"))
        self.assertEqual([place for place, _ in found], [0, 2, 3, 5])

    def test_macroblock_adaptive_frames(self) -> None:
        units = H264Units(1)
        unit = units.unit([sps(adaptive=True), PPS, picture(0, idr=True)])
        assert unit is not None
        self.assertIsNone(unit.field)
