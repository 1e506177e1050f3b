"""docs/m4f.md against the program: its examples, and a reader written from the document alone."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from restreamer.m4f import handshake, layout, link, record_layout
from restreamer.m4f.handshake import derive_key
from restreamer.m4f.hour_index import encode_hour
from restreamer.m4f.link import Link
from restreamer.m4f.records import FileAsk, FileRefused, Frames, encode_record
from test.m4f import samples
from test.m4f.samples import NODE, OTHER_NODE, START
from test.m4f.test_hour_index import shown_hour

_DOCUMENT = Path(__file__).parents[2] / "docs" / "m4f.md"
_LINE = re.compile(r"(?:([0-9a-f]{4})  )?((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: .*)?")


def _example(name: str) -> list[tuple[str | None, bytes]]:
    """The lines of an example: offset as text, bytes."""
    text = _DOCUMENT.read_text("utf-8")
    block = text.split(f"<!-- {name} -->\n```\n")[1].split("\n```")[0]
    lines = []
    for line in block.splitlines():
        matched = _LINE.fullmatch(line)
        assert matched is not None, line
        lines.append((matched[1], bytes.fromhex(matched[2])))
    return lines


def crc32c(data: bytes) -> int:
    """Section 1."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def strangers_reader(data: bytes) -> dict[str, Any]:
    """A reader of section 2, with nothing of ours."""
    head = struct.unpack_from(">4sBBBHIQqIIII", data)
    assert head[0] == b"M4FS" and head[1] == 1
    track_count, part_count, header_size = head[3], head[4], head[5]
    frame_count, body_size = head[10], head[11]
    assert len(data) == header_size + body_size
    body_crc, header_crc = struct.unpack_from(">II", data, header_size - 8)
    assert crc32c(data[: header_size - 4]) == header_crc
    assert crc32c(data[header_size:]) == body_crc
    at = 45
    tracks = []
    for _ in range(track_count):
        (size,) = struct.unpack_from(">I", data, at)
        entry = data[at + 4 : at + 4 + size]
        fixed = struct.unpack_from(">BB4sIIIIIHI", entry)
        used = struct.calcsize(">BB4sIIIIIHI")
        language = entry[used + 1 : used + 1 + entry[used]]
        used += 1 + entry[used]
        (config_size,) = struct.unpack_from(">I", entry, used)
        tracks.append((*fixed, language, entry[used + 4 : used + 4 + config_size]))
        at += 4 + size
    frames = []
    body = header_size
    for index in range(frame_count):
        track_id, flags, dts, cts, size = struct.unpack_from(">BBiiI", data, at + 14 * index)
        frames.append((track_id, head[7] + dts, cts, bool(flags & 1), data[body : body + size]))
        body += size
    at += 14 * frame_count
    parts = [struct.unpack_from(">IIIB", data, at + 13 * index) for index in range(part_count)]
    return {"number": head[6], "start": head[7], "tracks": tracks, "frames": frames, "parts": parts}


class DocumentTests(SynchronousTestCase):
    def test_the_segment(self) -> None:
        shown = b""
        for offset, data in _example("segment"):
            self.assertEqual(offset, f"{len(shown):04x}")
            shown += data
        self.assertEqual(shown.hex(" "), samples.tiny_segment().encoded.hex(" "))

    def test_the_handshake(self) -> None:
        key = derive_key("an example key")
        one = Link("client", NODE, (key,), b"c" * 16, "media")
        other = Link("server", OTHER_NODE, (key,), b"s" * 16)
        sent = []
        for _ in range(2):
            sent.append(one.data_to_send())
            other.receive(sent[-1])
            sent.append(other.data_to_send())
            one.receive(sent[-1])
        self.assertEqual(b"".join(data for _, data in _example("handshake")), b"".join(sent))

    def test_the_frames(self) -> None:
        frame = samples.tiny_segment().frames()[1]
        shown = b"".join(data for _, data in _example("frames"))
        self.assertEqual(shown, encode_record(Frames([frame], START)))

    def test_the_file(self) -> None:
        shown = b"".join(data for _, data in _example("file"))
        self.assertEqual(
            shown, encode_record(FileAsk(7, "v/a.mp4")) + encode_record(FileRefused(7, 404, "no such file"))
        )

    def test_a_stranger_can_read_every_sample(self) -> None:
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        for segment in samples.three_segments():
            read = strangers_reader(segment.encoded)
            self.assertEqual((read["number"], read["start"]), (segment.number, segment.start))
            self.assertEqual(
                read["frames"], [(f.track_id, f.dts, f.cts, f.key, f.data) for f in segment.frames()]
            )
            self.assertEqual(
                [(t[0], t[1], t[2].decode(), t[-2].decode(), t[-1]) for t in read["tracks"]],
                [(t.track_id, t.kind, t.codec, t.language, t.config) for t in segment.tracks],
            )
            self.assertEqual(
                read["parts"],
                [(p.first_frame, p.frame_count, p.duration, p.independent) for p in segment.parts],
            )

    def test_limits_and_names(self) -> None:
        text = _DOCUMENT.read_text("utf-8")
        for words in (
            f"at most {layout.MAX_TRACKS} |",
            f"at most {layout.MAX_FRAMES:,} |",
            f"at most {layout.MAX_SEGMENT >> 20} MiB",
            f"at most {layout.MAX_CONFIG >> 10} KiB, then the codec",
            f"payload at most {record_layout.MAX_CONTROL >> 10} KiB",
            f"at most {record_layout.MAX_MEDIA >> 20} MiB",
            f"At most {record_layout.MAX_LISTED:,} streams and {record_layout.MAX_LOCATIONS:,} locations",
            f"*complete* hold at most {record_layout.MAX_CATALOGUE >> 20} MiB.",
            f"type 65 at most {record_layout.MAX_FILE_INDEX >> 20} MiB",
            f"count u32 (1 to {record_layout.MAX_FILE_SEGMENTS:,})",
            f"UTF-8 of 1 to {record_layout.MAX_FILE_NAME} bytes",
            f"UTF-8 of at most {record_layout.MAX_TEXT} bytes",
            f"at most {handshake.MAX_MESSAGE} bytes of payload",
            f"`{handshake.CLIENT_LABEL.decode()}`",
            f"`{handshake.SERVER_LABEL.decode()}`",
            f"`{handshake.KEY_LABEL.decode()}`",
            f"`{link.NOT_AUTHORISED}`",
            f"This is {handshake.VERSION[0]}.{handshake.VERSION[1]}.".replace("This", "this"),
        ):
            self.assertIn(words, text)
        for number in record_layout.RecordType:
            self.assertRegex(text, rf"\| {int(number)} (\| )?{number.name.lower().replace('_', ' ')} \|")

    def test_the_hour_index(self) -> None:
        shown = b""
        for offset, data in _example("hour"):
            self.assertEqual(offset, f"{len(shown):04x}")
            shown += data
        self.assertEqual(shown, encode_hour(shown_hour()))
        self.assertEqual(crc32c(shown[:-4]).to_bytes(4, "big"), shown[-4:])
        head = struct.unpack_from(">4sBBIHHIII", shown)
        rows_at = 26 + head[8] + 40 * head[5]
        rows = [struct.unpack_from(">QqIBIIIiHHIHQ", shown, rows_at + 55 * at) for at in range(head[6])]
        self.assertEqual(rows, list(shown_hour().tuples()))
        spans_at = rows_at + 55 * head[6]
        spans = [struct.unpack_from(">BBiII", shown, spans_at + 14 * at) for at in range(head[7])]
        self.assertEqual(spans, [*shown_hour().spans(0), *shown_hour().spans(1)])
        self.assertEqual(spans_at + 14 * head[7] + 4, len(shown))
