"""What is fuzzed: for each parser a function that takes any bytes and must come back, and first inputs.

A parser may refuse what it gets by the one exception it documents; whatever else escapes is a bug. They are
imported inside the functions, so that the fuzzer can instrument them as they are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from attrs import evolve

from test.fuzz.media_targets import MEDIA
from test.fuzz.rtsp_targets import RTSP
from test.fuzz.target import Target, Test, pieces


def _rtmp() -> Test:
    from restreamer.errors import LocalProtocolError, RemoteProtocolError
    from restreamer.rtmp.connection import ServerConnection
    from restreamer.rtmp.events import PlayRequested, PublishRequested
    from restreamer.rtmp.handshake import NONCE
    from restreamer.rtmp.message import Audio, Data, Video
    from restreamer.rtmp.to_media import FlvToMedia

    def test(data: bytes) -> None:
        connection = ServerConnection(bytes(NONCE))
        media = FlvToMedia()
        try:
            for piece in pieces(data):
                events = list(connection.receive(piece))
                while events:
                    event = events.pop(0)
                    if isinstance(event, PublishRequested):
                        events += connection.accept_publish(event.request)
                    elif isinstance(event, PlayRequested):
                        connection.accept_play(event.request)
                    elif isinstance(event, Audio | Video | Data):
                        media.take(event)
                connection.data_to_send()
        except (RemoteProtocolError, LocalProtocolError):
            pass

    return test


def _rtmp_seeds() -> Iterator[bytes]:
    from test.rtmp.wire import HANDSHAKE, connect, message, publish_opening

    yield b"\xff\xff" + HANDSHAKE + connect()
    yield b"\xff\xff" + publish_opening()
    video = message(9, b"\x17\x00\x00\x00\x00" + bytes(40), stream_id=1)
    audio = message(8, b"\xaf\x00\x11\x90", stream_id=1)
    enhanced = message(9, b"\x90hvc1" + bytes(40), stream_id=1)
    multitrack = message(9, b"\x96\x00hvc1\x00" + bytes(40), stream_id=1)
    yield b"\x07\x00" + publish_opening() + video + audio + enhanced + multitrack


def _flv_tag() -> Test:
    from restreamer.rtmp.message import Audio, Video
    from restreamer.rtmp.to_media import FlvToMedia

    def test(data: bytes) -> None:
        media = FlvToMedia()
        at = 0
        while at + 2 <= len(data):
            size = data[at] >> 1
            kind = Video if data[at] & 1 else Audio
            media.take(kind(timestamp=at * 20, stream_id=1, payload=data[at + 1 : at + 1 + size]))
            at += 1 + size

    return test


def _flv_tag_seeds() -> Iterator[bytes]:
    from restreamer.flv.bodies import forms
    from restreamer.flv.dialect import ENHANCED_CODECS as ALL
    from restreamer.flv.dialect import FULL, Dialect
    from restreamer.testing.media import ASC, AVCC, START
    from test.flv.samples import AUDIO, VIDEO, frames_of, with_id

    for video, audio in zip([*VIDEO.values()] * 2, AUDIO.values(), strict=False):
        for dialect in (FULL, Dialect(ALL, multitrack=True, nano=True)):
            tracks = (video, audio, with_id(audio, 3))
            written = forms(tracks, dialect)
            bodies = [each.header for each in written.values() if each.header]
            for track in tracks:
                if track.track_id in written:
                    bodies += [written[track.track_id].body(each, START) for each in frames_of(track, 2)]
            yield b"".join(
                bytes([len(each) << 1 | (0 if each[0] & 0xF0 in (0x90, 0xA0, 0x20, 0x70, 0x80) else 1)])
                + each
                for each in bodies
                if len(each) < 128
            )
    configs = [b"\x17\x00\x00\x00\x00" + AVCC, b"\xaf\x00" + ASC, b"\x90hvc1" + bytes(24)]
    yield b"".join(
        bytes([len(each) << 1 | (1 if each[0] != 0xAF else 0)]) + each for each in configs if len(each) < 128
    )


def _records() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.m4f.record_stream import RecordReader

    def test(data: bytes) -> None:
        reader = RecordReader()
        try:
            for piece in pieces(data):
                reader.receive(piece)
        except RemoteProtocolError:
            pass

    return test


def _record_seeds() -> Iterator[bytes]:
    from restreamer.m4f.record_stream import encode_record
    from restreamer.m4f.records import Frames, Heartbeat, PartClose, Ping, Pull, SegmentClose
    from restreamer.media.frame import Frame

    yield b"\xff\xff" + encode_record(Ping(sent_at=1))
    yield b"\x04\x00" + encode_record(Frames(start=90_000, frames=[Frame(1, 90_000, 0, True, b"abc")]))
    for record in (Heartbeat, PartClose, Pull, SegmentClose):
        number = sum(record.__name__.encode())
        yield b"\xff\xff" + bytes([number % 40, 0, 0, 0, 0, 16]) + bytes(16)


def _segment() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.m4f import header, segment

    for module in (header, segment):
        setattr(module, "google_crc32c", Unchecked)  # noqa: B010

    def test(data: bytes) -> None:
        try:
            found = segment.Segment.parse(data)
        except RemoteProtocolError:
            return
        found.frames()
        found.program_date_time()

    return test


def _segment_seeds() -> Iterator[bytes]:
    from restreamer.m4f.segment import Segment, SegmentBuilder, SegmentOpening
    from restreamer.media.frame import Frame
    from restreamer.testing.media import aac_track, h264_track

    opening = SegmentOpening(
        number=7,
        start=90_000,
        discontinuity=False,
        independent=True,
        discontinuity_sequence=0,
        tracks=(h264_track(), aac_track()),
    )
    builder = SegmentBuilder(opening)
    builder.extend([Frame(1, 90_000, 0, True, b"\0\0\0\1e"), Frame(2, 91_000, 0, True, b"sound")])
    segment: Segment = builder.close(180_000)
    yield segment.encoded
    from restreamer.m4f.segment import Part
    from restreamer.testing.media import START, make_frames
    from test.flv.samples import AUDIO, VIDEO, frames_of, with_id

    opening = evolve(opening, start=START, discontinuity=True, discontinuity_sequence=3)
    for video, audio in zip(VIDEO.values(), list(AUDIO.values())[2:6], strict=True):
        tracks = (video, audio, evolve(with_id(audio, 3), language="deu"))
        builder = SegmentBuilder(evolve(opening, tracks=tracks))
        for at, track in enumerate(tracks):
            builder.extend(frames_of(track, 4))
            builder.close_part(Part(at * 4, 4, 9000, not at))
        yield builder.close(90_000).encoded
    builder = SegmentBuilder(opening)
    builder.extend(make_frames(0.4, video_bitrate=100_000))
    yield builder.close(36_000).encoded


class Unchecked:
    """In place of CRC32C: what was mutated passes, so what lies behind the checksum is reached."""

    @staticmethod
    def value(data: bytes) -> int:
        """Of anything."""
        return 0

    @staticmethod
    def extend(checksum: int, data: bytes) -> int:
        """Of anything more."""
        return checksum


def _hour() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.m4f import hour_index

    setattr(hour_index, "google_crc32c", Unchecked)  # noqa: B010

    def test(data: bytes) -> None:
        try:
            index = hour_index.decode_hour(data)
        except RemoteProtocolError:
            return
        for place, row in enumerate(index):
            index.tracks(row)
            index.runs[row.run]
            index.spans(place)
            index.find(row.number)
        hour_index.decode_hour(hour_index.encode_hour(index))

    return test


def _hour_seeds() -> Iterator[bytes]:
    from restreamer.m4f.hour_index import encode_hour
    from test.m4f.test_hour_index import shown_hour

    yield encode_hour(shown_hour())[:-4] + bytes(4)


def _disk() -> Test:
    from restreamer.dvr import summary
    from restreamer.dvr.disk_record import FoundRecord, scan
    from restreamer.dvr.hour_file import decode_log
    from restreamer.errors import RemoteProtocolError

    setattr(summary, "google_crc32c", Unchecked)  # noqa: B010

    def test(data: bytes) -> None:
        at = 0
        for found in scan(lambda offset, size: data[offset : offset + size], len(data)):
            if found.begin != at or found.end <= at:
                raise AssertionError("a scan leaves bytes out")
            at = found.end
            if isinstance(found, FoundRecord):
                found.segment.frames()
        decode_log(data, 472_222)
        try:
            summary.decode_summary(data)
        except RemoteProtocolError:
            pass

    return test


def _disk_seeds() -> Iterator[bytes]:
    from restreamer.dvr.disk_record import encode_disk_record
    from restreamer.dvr.hour_file import encode_entry
    from restreamer.dvr.summary import encode_summary, facts_of
    from test.m4f.samples import RUN, three_segments
    from test.m4f.test_hour_index import shown_hour

    records = [b"".join(encode_disk_record(RUN, segment)[0]) for segment in three_segments()]
    yield b"".join(records)
    yield records[0] + b"torn" + records[1][:-3] + records[2]
    yield encode_entry(shown_hour()) * 2
    yield encode_summary([facts_of(shown_hour(), {1: 700})])[:-4] + bytes(4)


def _mp4() -> Test:
    from restreamer.errors import MediaError
    from restreamer.mp4.reader import Mp4Reader

    def test(data: bytes) -> None:
        try:
            reader = Mp4Reader(lambda at, size: data[at : at + size], len(data))
            for _ in islice(reader.frames(), 50):
                pass
        except MediaError:
            pass

    return test


def _mp4_seeds() -> Iterator[bytes]:
    from restreamer.mp4.fragment import fragment, init_segment
    from restreamer.testing.media import make_frames
    from test.media.test_codecs import EVERY
    from test.mp4.build import audio, mp4, video

    yield mp4(video(), audio())
    yield mp4(video(4), moov_first=False)
    for track, _, carried in EVERY:
        if "cmaf" in carried:
            frames = [frame for frame in make_frames(1) if frame.track_id == 1][:5]
            yield init_segment(track) + fragment(track, frames, 1, frames[-1].dts + 3600)
    yield b"\0\0\0\x10ftypisom\0\0\2\0" + b"\0\0\0\x74moov" + b"\0\0\0\x6cmvhd" + bytes(100)


def _codecs() -> Test:
    from restreamer.errors import MediaError
    from restreamer.media import aac, ac3, assemble, av1, codecs, h264, hevc, mp3, mpeg2, opus, vp9

    parsers: list[Callable[[bytes], object]] = [
        lambda data: codecs.codec_string(h264.h264_track(1, data)),
        lambda data: codecs.codec_string(hevc.hevc_track(1, data)),
        lambda data: codecs.codec_string(av1.av1_track(1, data)),
        lambda data: codecs.codec_string(vp9.vp9_track(1, data)),
        lambda data: codecs.codec_string(aac.aac_track(1, data)),
        lambda data: opus.head_from_dops(opus.opus_track(1, data).config),
        lambda data: ac3.ac3_track(1, data),
        lambda data: mpeg2.mpeg2_track(1, data),
        lambda data: mp3.mpeg_audio_track(1, data),
        opus.dops_from_head,
        opus.packet_duration,
        lambda data: av1.with_sizes(av1.split_obus(data)),
        h264.annexb,
        hevc.annexb,
    ]

    def test(data: bytes) -> None:
        if not data:
            return
        parse = parsers[data[0] % len(parsers)]
        try:
            parse(data[1:])
        except MediaError:
            pass
        assembler = data[0] // 16
        audio = (assemble.AdtsFrames, assemble.MpegAudioFrames, assemble.Ac3Frames, assemble.OpusFrames)
        if assembler < len(audio):
            frames = audio[assembler](1)
            for piece in pieces(data[1:]):
                frames.frames(piece)
        elif assembler < 6:
            units = (assemble.H264Units, assemble.HevcUnits)[assembler - 4](1)
            for piece in pieces(data[1:]):
                units.unit(h264.split_annexb(piece))
        else:
            pictures = assemble.Vp9Units(1), assemble.Mpeg2Units(1)
            for piece in pieces(data[1:]):
                for each in pictures:
                    each.unit(piece)
                try:
                    assemble.Av1Units(1).unit(av1.split_obus(piece))
                except MediaError:
                    pass

    return test


def _codecs_seeds() -> Iterator[bytes]:
    from test.media.test_audio_frames import CASES
    from test.media.test_codecs import EVERY

    for number, (track, *_) in enumerate(EVERY):
        if track.config:
            yield bytes((number % 14,)) + track.config
    for number, (_, _, stream, _) in enumerate(CASES):
        yield bytes((16 * (0, 1, 1, 2, 2, 3)[number],)) + b"\xff\xff" + b"".join(stream)[:4000]


def _http() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.http1.parse import HeadError, HeadParser

    def test(data: bytes) -> None:
        parser = HeadParser()
        try:
            for piece in pieces(data):
                parser.receive(piece)
                while parser.next_head() is not None:
                    pass
        except (RemoteProtocolError, HeadError):
            pass

    return test


def _http_seeds() -> Iterator[bytes]:
    yield b"\xff\xffGET /live/cam/index.m3u8?token=a%20b HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n"
    yield b"\x03\x00POST /s/mpegts HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield b"\x03\x00POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n"


def _config() -> Test:
    from restreamer.config.load import parse
    from restreamer.errors import ConfigError

    def test(data: bytes) -> None:
        try:
            parse(data.decode("utf-8", "replace"))
        except ConfigError:
            pass

    return test


def _config_seeds() -> Iterator[bytes]:
    yield b"http 80; stream a { input rtsp://u:p@h/x transport=udp; push udp://239.0.0.1:1 ttl=3; }"
    yield b'template t { prefix t; input publish://; title "x"; } source h { only a/*; }'


#: All targets, by name.
TARGETS: dict[str, Target] = {
    "codecs": Target(_codecs, _codecs_seeds),
    "config": Target(_config, _config_seeds),
    "disk": Target(_disk, _disk_seeds),
    "flv": Target(_flv_tag, _flv_tag_seeds),
    "hour": Target(_hour, _hour_seeds),
    "http": Target(_http, _http_seeds),
    "m4f": Target(_records, _record_seeds),
    "mp4": Target(_mp4, _mp4_seeds),
    "rtmp": Target(_rtmp, _rtmp_seeds),
    "segment": Target(_segment, _segment_seeds),
    **MEDIA,
    **RTSP,
}
