"""Targets of containers and playlists that come from strangers: MPEG-TS, CMAF, HLS."""

from __future__ import annotations

from collections.abc import Iterator

from test.fuzz.target import Target, Test, in_packets, packets, pieces


def _ts() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.mpegts.demux import TsDemux

    def test(data: bytes) -> None:
        demux = TsDemux()
        try:
            for piece in pieces(data):
                demux.receive(piece)
            demux.flush()
        except RemoteProtocolError:
            pass

    return test


def _ts_seeds() -> Iterator[bytes]:
    from restreamer.media.frame import Frame
    from restreamer.media.mpeg2 import mpeg2_track
    from restreamer.mpegts.segment_muxer import mux_segment
    from test.flv.samples import AUDIO, VIDEO, frames_of, with_id
    from test.mpegts.test_demux import Fields, latm_stream, video_stream

    heads = "000001b31400b423ffffe018 000001b5148a00010000 000001b800080040 0000010000 0ffff8"
    yield b"\xff\xff" + latm_stream()
    fields = [part for _, pair in Fields().numbered() for part in pair]
    yield b"\xbb\x00" + video_stream([(at * 1800, at * 1800, part) for at, part in enumerate(fields)])
    picture = bytes.fromhex(heads) + bytes.fromhex("000001b58ffff34180") + bytes(range(1, 60))
    mpeg2 = mpeg2_track(1, picture)
    for video in (VIDEO["avc1"], VIDEO["hvc1"], mpeg2):
        for names in (("mp4a", "ac-3"), (".mp3", "ec-3"), ("Opus",)):
            sounds = [with_id(AUDIO[name], number) for number, name in enumerate(names, 2)]
            tracks = (video, *sounds)
            frames: list[Frame] = []
            for track in tracks:
                own = frames_of(track, 4)
                if track is mpeg2:
                    own = [Frame(1, each.dts, 0, each.key, picture) for each in own]
                frames += own
            body = mux_segment(tracks, frames)
            yield b"\xff\xff" + body
            yield b"\xbb\x00" + body
            # As some capture cards give them: 204 bytes, and something before the first.
            yield b"\x07\x10abc" + b"".join(
                body[at : at + 188] + bytes(16) for at in range(0, len(body), 188)
            )


def _cmaf() -> Test:
    from restreamer.errors import MediaError
    from restreamer.mp4.fragment_reader import FragmentReader

    def test(data: bytes) -> None:
        try:
            reader: FragmentReader | None = None
            for packet in packets(data):
                if reader is None:
                    reader = FragmentReader(packet)
                else:
                    reader.frames(packet)
        except MediaError:
            pass

    return test


def _cmaf_seeds() -> Iterator[bytes]:
    from restreamer.mp4.fragment import fragment, init_segment
    from test.flv.samples import AUDIO, VIDEO, frames_of

    tracks = [*VIDEO.values(), *(AUDIO[name] for name in ("mp4a", ".mp3", "Opus", "ac-3", "ec-3"))]
    for track in tracks:
        frames = frames_of(track, 5)
        parts = [
            fragment(track, frames[:2], 1, frames[2].dts),
            fragment(track, frames[2:4], 2, frames[4].dts),
        ]
        yield in_packets([init_segment(track), *parts, b"".join(parts)])


def _playlist() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.hls.pull_playlist import parse_playlist

    def test(data: bytes) -> None:
        try:
            parse_playlist(data)
        except RemoteProtocolError:
            pass

    return test


def _playlist_seeds() -> Iterator[bytes]:
    yield (
        b"#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        b'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x, y",LANGUAGE="de",DEFAULT=YES,URI="a/i.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=1x2,AUDIO="a"\nv/i.m3u8\n'
        b"#EXT-X-STREAM-INF:BANDWIDTH=99999999999999999999\nhttp://other.example/i.m3u8?x=%20\n"
    )
    yield (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXT-X-MEDIA-SEQUENCE:1795380697\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n"
        b'#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@0"\n#EXT-X-PROGRAM-DATE-TIME:2026-11-22T20:51:38.056Z\n'
        b"#EXTINF:1.018,title\n#EXT-X-BYTERANGE:1000@720\n1.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-GAP\n"
        b'#EXTINF:2,\n2.m4s\n#EXT-X-PART:DURATION=0.2,URI="3.0.m4s"\n#EXT-X-ENDLIST\n'
    )
    yield b'\xef\xbb\xbf#EXTM3U\r\n#EXT-X-KEY:METHOD=AES-128,URI="k"\r\n#EXTINF:1e400,\r\nx.ts\r\n'


def _segment_of_hls() -> Test:
    from restreamer.errors import RemoteProtocolError
    from restreamer.hls.pull_reader import SegmentReader

    def test(data: bytes) -> None:
        reader = SegmentReader(1, "eng")
        init = b""
        for number, packet in enumerate(packets(data)):
            if not number:
                init = packet
                continue
            try:
                reader.segment(init, packet, bool(number & 2))
            except RemoteProtocolError:
                pass

    return test


def _segment_of_hls_seeds() -> Iterator[bytes]:
    for seed in _ts_seeds():
        if seed.startswith(b"\xff\xff"):
            yield in_packets([b"", seed[2:], seed[2:]])
    yield from _cmaf_seeds()


#: Targets by name.
MEDIA: dict[str, Target] = {
    "cmaf": Target(_cmaf, _cmaf_seeds),
    "hls_playlist": Target(_playlist, _playlist_seeds),
    "hls_segment": Target(_segment_of_hls, _segment_of_hls_seeds),
    "ts": Target(_ts, _ts_seeds),
}
