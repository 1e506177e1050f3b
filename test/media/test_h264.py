"""Tests of L{restreamer.media.h264} and L{restreamer.media.h264_sps}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media import h264
from restreamer.media.h264_sps import parse_sps
from restreamer.media.track import H264
from restreamer.testing.media import AVCC, PPS, SPS, make_frames, nal

#: SPS of x264 with what a decoder says about them: width, height, frames/s times 1000, frames only.
KNOWN_SPS = {
    "67640028acd940780227e5c04400000fa40003a9803c60c658": (1920, 1080, 29970, True),
    "6742c00cd90150878888c044000003000400000300783c50a920": (322, 242, 15000, True),
    "677a0020b6cd9405005bb011000003000100000300640f183196": (1280, 720, 50000, True),
    "67640028acd94078044fde0220000003002000000643e2c5b2c0": (1920, 1080, 25000, False),
    "67f4001f919b281405ff3e0220000003002000000f01e30632c0": (640, 362, 60000, True),
    "6764000af3651c9e363f016c800000030080000018078912cb": (100, 50, 24000, True),
    "6764001eacd940a02ff97011000003000100000300320f162d96": (640, 360, 25000, True),
}


def ue(value: int) -> str:
    """An unsigned Exp-Golomb code as text."""
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def baseline_sps(
    *, across: int = 20, down: int = 15, refs: int = 1, crop: tuple[int, ...] = (), timing: str = ""
) -> bytes:
    """A baseline SPS; C{across} and C{down} are in macroblocks, C{timing} is the VUI's timing bits."""
    bits = ue(0) + ue(0) + ue(2) + ue(refs) + "0" + ue(across - 1) + ue(down - 1) + "11"
    bits += "1" + "".join(map(ue, crop)) if crop else "0"
    bits += "1" + "0000" + timing if timing else "0"
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    body = bytes((66, 0xC0, 30)) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    escaped = bytearray()
    for byte in body:
        if byte <= 3 and escaped[-2:] == b"\x00\x00":
            escaped.append(3)
        escaped.append(byte)
    return b"\x67" + bytes(escaped)


def timing(units: int, scale: int) -> str:
    """timing_info of a VUI."""
    return f"1{units:032b}{scale:032b}1"


class SpsTests(SynchronousTestCase):
    """The sequence parameter set."""

    def test_known(self) -> None:
        for text, expected in KNOWN_SPS.items():
            sps = parse_sps(bytes.fromhex(text))
            self.assertEqual((sps.width, sps.height, sps.frame_rate, sps.frames_only), expected)

    def test_depth_and_chroma(self) -> None:
        sps = parse_sps(bytes.fromhex("677a0020b6cd9405005bb011000003000100000300640f183196"))
        self.assertEqual((sps.chroma_format, sps.luma_depth, sps.chroma_depth), (2, 10, 10))

    def test_built(self) -> None:
        self.assertEqual(parse_sps(baseline_sps()).width, 320)
        self.assertEqual(parse_sps(baseline_sps(crop=(0, 1, 0, 4))).height, 232)
        self.assertEqual(parse_sps(baseline_sps(timing=timing(1001, 60000))).frame_rate, 29970)

    def test_time_zero_is_unknown_rate(self) -> None:
        for units, scale in ((0, 50), (0, 0), (1, 0), (1, 2**32 - 1)):
            self.assertEqual(parse_sps(baseline_sps(timing=timing(units, scale))).frame_rate, 0)

    def test_truncated_vui_is_unknown_rate(self) -> None:
        sps = baseline_sps(timing=timing(1, 50))
        self.assertEqual(parse_sps(sps[:-6]).frame_rate, 0)
        self.assertEqual(parse_sps(sps[:-6]).width, 320)

    def test_refused(self) -> None:
        bad = {
            "empty": b"",
            "header only": b"\x67",
            "not an SPS": b"\x68" + SPS[1:],
            "exp-golomb of zeros": b"\x67\x42\xc0\x1e" + bytes(32),
            "too wide": baseline_sps(across=4096),
            "too high": baseline_sps(down=65536),
            "references": baseline_sps(refs=2**32 - 2),
            "crop": baseline_sps(crop=(100, 100, 0, 0)),
            "huge crop": baseline_sps(crop=(2**32 - 2, 2**32 - 2, 0, 0)),
            "long": SPS + bytes(10_000),
        }
        for name, data in bad.items():
            with self.assertRaises(MediaError, msg=name):
                parse_sps(data)

    @settings(deadline=None, max_examples=300, derandomize=True)
    @given(st.binary(max_size=80))
    def test_only_media_error(self, data: bytes) -> None:
        for prefix in (b"", b"\x67\x64\x00\x1e", b"\x67\x42\xc0\x1e", SPS[:8]):
            try:
                sps = parse_sps(prefix + data)
            except MediaError:
                continue
            self.assertTrue(0 < sps.width <= 16_896 and 0 < sps.height <= 16_896)


class RecordTests(SynchronousTestCase):
    """AVCDecoderConfigurationRecord."""

    def test_parse(self) -> None:
        config = h264.parse_avcc(AVCC)
        self.assertEqual((config.profile, config.compat, config.level, config.length_size), (100, 0, 30, 4))
        self.assertEqual((config.sps, config.pps), ((SPS,), (PPS,)))

    def test_normalise(self) -> None:
        for size_bits in (0xFC, 0xFD, 0x01):
            record = AVCC[:4] + bytes((size_bits,)) + AVCC[5:]
            self.assertEqual(h264.normalise_avcc(record), AVCC)

    def test_reserved_bits_may_be_zero(self) -> None:
        self.assertEqual(h264.parse_avcc(AVCC[:5] + b"\x01" + AVCC[6:]).sps, (SPS,))

    def test_refused(self) -> None:
        pps_at = 6 + 2 + len(SPS)
        bad = {
            "empty": b"",
            "version": b"\x02" + AVCC[1:],
            "no SPS": AVCC[:5] + b"\xe0" + AVCC[6:],
            "31 SPS": AVCC[:5] + b"\xff" + AVCC[6:],
            "no PPS": AVCC[:pps_at] + b"\x00" + AVCC[pps_at + 1 :],
            "255 PPS": AVCC[:pps_at] + b"\xff" + AVCC[pps_at + 1 :],
            "no PPS count": AVCC[:pps_at],
            "SPS past the end": AVCC[:6] + b"\xff\xff" + AVCC[8:],
            "empty SPS": AVCC[:6] + b"\x00\x00\x01\x00\x00",
            "length size 3": AVCC[:4] + b"\xfe" + AVCC[5:],
            "PPS as SPS": AVCC[:8] + b"\x68" + AVCC[9:],
            "long": AVCC + bytes(20_000),
        }
        for name, data in bad.items():
            with self.assertRaises(MediaError, msg=name):
                h264.parse_avcc(data)
        for size in range(pps_at + 3 + len(PPS)):
            self.assertRaises(MediaError, h264.normalise_avcc, AVCC[:size])

    def test_from_byte_stream(self) -> None:
        stream = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x01" + PPS + b"\x00\x00\x00\x01" + SPS
        self.assertEqual(h264.avcc_from_annexb_sps_pps(stream), AVCC)
        self.assertEqual(h264.avcc_from_sets([SPS], [PPS]), AVCC)

    def test_from_nothing(self) -> None:
        for stream in (
            b"",
            b"\x00\x00\x01" + SPS,
            b"\x00\x00\x01" + PPS,
            b"\x00\x00\x01\x67\x00\x00\x01\x68",
        ):
            self.assertRaises(MediaError, h264.avcc_from_annexb_sps_pps, stream)

    def test_from_high_profile_that_cannot_be_read(self) -> None:
        sps = b"\x67\x64\x00\x1e" + bytes(10)
        self.assertEqual(h264.parse_avcc(h264.avcc_from_sets([sps], [PPS])).sps, (sps,))

    def test_track(self) -> None:
        track = h264.h264_track(3, AVCC[:4] + b"\xfd" + AVCC[5:], 5_000)
        self.assertEqual((track.codec, track.config, track.track_id, track.bandwidth), (H264, AVCC, 3, 5_000))
        self.assertEqual((track.width, track.height, track.frame_rate), (640, 360, 25_000))

    def test_track_of_unreadable_sps(self) -> None:
        """C01: the size is unknown, the stream passes."""
        sps = b"\x67\x42\xc0\x1e" + bytes(12)
        record = b"\x01\x42\xc0\x1e\xff\xe1\x00\x10" + sps + b"\x01\x00\x06" + PPS
        track = h264.h264_track(1, record)
        self.assertEqual((track.config, track.width, track.height, track.frame_rate), (record, 0, 0, 0))

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.binary(max_size=60), st.integers(0, len(AVCC)), st.integers(0, len(AVCC)))
    def test_only_media_error(self, noise: bytes, begin: int, end: int) -> None:
        for data in (noise, AVCC[:begin] + noise + AVCC[end:]):
            try:
                h264.h264_track(1, data)
            except MediaError:
                pass
            try:
                h264.avcc_from_annexb_sps_pps(data)
            except MediaError:
                pass


UNITS = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


def with_lengths(units: list[bytes], size: int) -> bytes:
    """NAL units behind C{size}-byte lengths."""
    return b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)


class UnitTests(SynchronousTestCase):
    """Access units behind lengths, and as byte streams."""

    @settings(deadline=None, max_examples=100, derandomize=True)
    @given(UNITS, st.integers(1, 4))
    def test_relength(self, units: list[bytes], size: int) -> None:
        units = [unit[: 256**size - 1] for unit in units]
        data = with_lengths(units, size)
        done = h264.relength(data, size)
        self.assertEqual(done, with_lengths(units, 4))
        self.assertEqual([done[at : at + length] for at, length in h264.split_nals(done)], units)

    def test_relength_keeps_four(self) -> None:
        data = nal(0x65, 1, 50)
        self.assertIs(h264.relength(data, 4), data)

    def test_refused(self) -> None:
        good = nal(0x65, 1, 50)
        bad = [
            good[:-1],
            good + b"\x00",
            good + bytes(4),
            bytes(4),
            b"\xff" * 8,
            b"\x00\x00\x00\x02A",
            b"\x00",
        ]
        for data in bad:
            self.assertRaises(MediaError, h264.split_nals, data)
            self.assertRaises(MediaError, h264.relength, data, 4)
            self.assertRaises(MediaError, h264.annexb, data)
            self.assertRaises(MediaError, h264.has_idr, data)
        for size in (1, 2, 3):
            self.assertRaises(MediaError, h264.relength, bytes(size), size)
            self.assertRaises(MediaError, h264.relength, b"\x05" * size, size)
        self.assertRaises(MediaError, h264.relength, good, 0)
        self.assertRaises(MediaError, h264.relength, good, 5)

    def test_too_many(self) -> None:
        units = [b"\x01"] * (h264.MAX_NALS + 1)
        self.assertRaises(MediaError, h264.split_nals, with_lengths(units, 4))
        self.assertRaises(MediaError, h264.annexb, with_lengths(units, 4))
        self.assertEqual(len(h264.split_nals(with_lengths(units[1:], 4))), h264.MAX_NALS)
        self.assertEqual(h264.annexb(with_lengths(units[1:], 4))[2], 2)
        self.assertRaises(MediaError, h264.relength, with_lengths(units, 1), 1)
        self.assertRaises(MediaError, h264.split_annexb, b"".join(b"\x00\x00\x01" + unit for unit in units))

    def test_has_idr(self) -> None:
        for frame in make_frames(4, gop=10, audio=False):
            self.assertEqual(h264.has_idr(frame.data), frame.key)
        self.assertFalse(h264.has_idr(b""))

    def test_annexb(self) -> None:
        data = nal(0x67, 1, 9) + nal(0x65, 2, 40)
        stream, begin, types = h264.annexb(data)
        self.assertEqual(stream, b"\x00\x00\x00\x01" + data[4:13] + b"\x00\x00\x00\x01" + data[17:])
        self.assertEqual((begin, types), (0, 1 << 7 | 1 << 5))

    def test_annexb_shows_where_delimiter_ends(self) -> None:
        data = with_lengths([b"\x09\xf0", b"\x41abc", b"\x09\xf0"], 4)
        stream, begin, types = h264.annexb(data)
        self.assertEqual(stream[begin:], b"\x00\x00\x00\x01\x41abc\x00\x00\x00\x01\x09\xf0")
        self.assertEqual(types, 1 << 1 | 1 << 9)

    @settings(deadline=None, max_examples=200, derandomize=True)
    @given(st.binary(max_size=64))
    def test_annexb_agrees_with_split(self, data: bytes) -> None:
        try:
            spans = h264.split_nals(data)
        except MediaError:
            self.assertRaises(MediaError, h264.annexb, data)
            return
        stream, _, types = h264.annexb(data)
        self.assertEqual(
            bytes(stream), b"".join(h264.START_CODE + data[at : at + size] for at, size in spans)
        )
        self.assertEqual(types, sum({1 << (data[at] & 31) for at, _ in spans}))

    def test_split_annexb(self) -> None:
        stream = b"\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x65abc\x00\x00\x00\x00\x00\x01\x06x"
        self.assertEqual(h264.split_annexb(stream), [b"\x09\xf0", b"\x65abc", b"\x06x"])
        self.assertEqual(h264.split_annexb(b"no start code"), [])
