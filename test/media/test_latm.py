"""AAC in LATM: what an encoder sends, what broadcasters may, and what nobody should."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from restreamer.errors import MediaError
from restreamer.media.assemble import LatmFrames
from restreamer.media.audio_frames import TimedFrame
from restreamer.media.bits import BitReader
from restreamer.media.latm import read_mux_config

#: Silence of two speakers at 44.1 kHz, as ffmpeg's encoder and LATM muxer made it.
FIRST = bytes.fromhex("56e01e200012101fe0bef01002630bb319a9c97199b9718981800211004608c1c0")
NEXT = bytes.fromhex("56e0088310880230460e00")
#: What ffmpeg's ADTS muxer made of the same.
RAW_FIRST = bytes.fromhex("de02004c61766335392e33372e31303000422008c11838")
RAW_NEXT = bytes.fromhex("211004608c1c")

LC_48_STEREO = "00010" + "0011" + "0010" + "000"
LC_44_MONO = "00010" + "0100" + "0001" + "000"
LC_960 = "00010" + "0011" + "0010" + "100"
SBR = "00101" + "0110" + "0010" + "0011" + "00010" + "000"
#: One speaker in the middle, told by a program config element with a comment of one byte.
ELEMENT = (
    "00010" + "0011" + "0000" + "000" + "0000" + "01" + "0011" + "0001" + "0" * 8 + "00" + "000" + "0000"
)
ELEMENT += "000" + "00000"
ELEMENT += "0" * (-len(ELEMENT) % 8) + f"{1:08b}" + "01000001"


def loas(bits: str) -> bytes:
    """One element in its frame."""
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return (0x2B7 << 13 | len(body)).to_bytes(3, "big") + body


def config(asc: str = LC_48_STEREO, version: str = "0", numbers: str = "0" * 13, other: str = "0") -> str:
    """A StreamMuxConfig: all streams in the same time frame, frame length of type 0."""
    size = f"00{len(asc):08b}" if version == "10" else ""
    tara = "00" + "1" * 8 if version == "10" else ""
    return version + tara + "1" + numbers + size + asc + "000" + "1" * 8 + other + "0"


def element(raw: bytes, mux: str | None = None, behind: str = "") -> bytes:
    head = "1" if mux is None else "0" + mux
    size = "1" * 8 * (len(raw) // 255) + f"{len(raw) % 255:08b}"
    return loas(head + size + "".join(f"{each:08b}" for each in raw) + behind)


class LatmTests(SynchronousTestCase):
    def read(self, *pieces: bytes) -> tuple[LatmFrames, list[TimedFrame]]:
        frames = LatmFrames(7, "eng")
        return frames, [each for piece in pieces for each in frames.frames(piece)]

    def test_as_an_encoder_sends_it(self) -> None:
        frames, found = self.read(FIRST + NEXT * 3)
        self.assertEqual([data for data, _ in found], [RAW_FIRST, *[RAW_NEXT] * 3])
        self.assertEqual([offset for _, offset in found], [1024 * at * 90_000 // 44_100 for at in range(4)])
        track = frames.track
        assert track is not None
        self.assertEqual((track.config, track.sample_rate, track.channels), (b"\x12\x10", 44_100, 2))
        self.assertEqual((track.track_id, track.language, frames.lost), (7, "eng", 0))

    def test_however_it_is_cut(self) -> None:
        data = FIRST + NEXT * 4
        wanted = [each for each, _ in self.read(data)[1]]
        for size in (1, 2, 3, 7, 30):
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            self.assertEqual([each for each, _ in self.read(*pieces)[1]], wanted, size)

    def test_configurations(self) -> None:
        """Each kind: its rate, speakers, and the bytes of the AudioSpecificConfig."""
        for asc, version, told in (
            (LC_48_STEREO, "0", (48_000, 2)),
            (LC_48_STEREO, "10", (48_000, 2)),
            (LC_44_MONO, "0", (44_100, 1)),
            (SBR, "0", (48_000, 2)),
            (ELEMENT, "0", (48_000, 1)),
        ):
            with self.subTest(asc=asc, version=version):
                raw = bytes(range(1, 200))
                frames, found = self.read(element(raw, config(asc, version)) + element(raw) * 2)
                self.assertEqual([data for data, _ in found], [raw] * 3)
                assert frames.track is not None
                self.assertEqual((frames.track.sample_rate, frames.track.channels), told)
                padded = asc + "0" * (-len(asc) % 8)
                self.assertEqual(frames.track.config, int(padded, 2).to_bytes(len(padded) // 8, "big"))

    def test_long_frames_and_other_data(self) -> None:
        raw = bytes(600)
        _, found = self.read(
            element(raw, config(other="1" + "0" + f"{12:08b}"), "1" * 12)
            + element(bytes(255), behind="1" * 12)
        )
        self.assertEqual([len(data) for data, _ in found], [600, 255])

    def test_short_frames(self) -> None:
        _, found = self.read(element(b"a", config(LC_960)) + element(b"b") * 2)
        # What comes before the configuration is known to be of another length is taken as the usual one.
        self.assertEqual([offset for _, offset in found][2] - [offset for _, offset in found][1], 1800)

    def test_a_change(self) -> None:
        frames, _ = self.read(element(b"ab", config()) * 2)
        before = frames.track
        frames.frames(element(b"ab", config()))
        self.assertIs(frames.track, before, "the same again is no change")
        frames.frames(element(b"ab", config(LC_44_MONO)))
        assert frames.track is not None
        self.assertEqual(frames.track.sample_rate, 44_100)

    def test_joined_in_the_middle(self) -> None:
        """Nothing before the first configuration; half an element is passed over."""
        frames, found = self.read(NEXT[4:] + NEXT * 2 + FIRST + NEXT)
        self.assertEqual([data for data, _ in found], [RAW_FIRST, RAW_NEXT])
        self.assertGreater(frames.lost, 0)

    def test_refused(self) -> None:
        for text in (
            config(version="11"),
            config(numbers="000001" + "0" * 7),
            config(numbers="0" * 6 + "0001" + "000"),
            config(numbers="0" * 10 + "001"),
            "0" + "1" + "0" * 13 + LC_48_STEREO + "001" + "0" * 40,
            "0" + "1" + "0" * 13 + "00010" + "1101" + "0010" + "0" * 60,
            config()[:20],
            config(other="1" + ("1" + "1" * 8) * 20),
        ):
            with self.subTest(text):
                bits = BitReader(loas(text)[3:])
                self.assertRaises(MediaError, read_mux_config, bits)
                frames, found = self.read(element(b"abc", text) * 3)
                self.assertEqual((found, frames.track), ([], None))
                self.assertGreater(frames.lost, 0)

    def test_a_frame_longer_than_its_element(self) -> None:
        frames, found = self.read(FIRST + loas("1" + f"{200:08b}" + "0" * 80) + NEXT)
        self.assertEqual([data for data, _ in found], [RAW_FIRST, RAW_NEXT])
        self.assertEqual(frames.lost, 3 + 12)

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.binary(max_size=60), st.integers(0, len(FIRST) - 1), st.integers(0, 255))
    def test_any_bytes(self, data: bytes, at: int, value: int) -> None:
        changed = bytearray(FIRST + NEXT)
        changed[at] = value
        frames = LatmFrames(1)
        for piece in (bytes(changed), data, b"\x56\xe0" + data, loas("0") + data):
            frames.frames(piece)
