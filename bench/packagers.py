"""What does it cost to take a stream of 4 Mbit/s in, and to make each form of it?

Every figure is processor milliseconds for one second of the stream (25 pictures/s, AAC), in one process, best
of three rounds over ten seconds of media; the inverse is how many such streams one core can do of that alone.
At the end: what a stream costs that comes in by RTMP and is served as HLS with MPEG-TS and as CMAF.

    python -m bench.packagers
    python -m bench.packagers --streams 20      # and a node with so many, all of them watched
"""

from __future__ import annotations

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bench.servers import node, publisher
from restreamer.flv.live_muxer import FlvFeedMuxer
from restreamer.live.cmaf import cut_segment
from restreamer.m4f.record_stream import RecordReader, encode_record
from restreamer.m4f.records import Frames
from restreamer.media.frame import Frame
from restreamer.media.track import Track
from restreamer.mp4.fragment import fragment
from restreamer.mpegts.demux import TsDemux
from restreamer.mpegts.live_muxer import MpegTsFeedMuxer
from restreamer.mpegts.segment_muxer import mux_segment
from restreamer.rtmp.client import Action, ClientConnection
from restreamer.rtmp.connection import ServerConnection
from restreamer.rtmp.events import PublishRequested
from restreamer.rtmp.handshake import NONCE
from restreamer.rtmp.message import Audio, Data, Video
from restreamer.rtmp.play_muxer import RtmpFeedMuxer
from restreamer.rtmp.to_media import FlvToMedia
from restreamer.rtmp.url import parse_url
from restreamer.rtp.receiver import RtpReceiver
from restreamer.rtsp.description import describe
from restreamer.rtsp.first_packets import split_frames
from restreamer.rtsp.play_muxer import RtspFeedMuxer
from restreamer.rtsp.record_session import sections_of
from restreamer.rtsp.sdp import parse_sdp
from restreamer.testing.media import START, aac_track, h264_track, make_frames
from test.e2e.matrix import media_playlists
from test.e2e.nodes import get, wait_until
from test.e2e.samples import Sample

SECONDS: Final = 10
BITRATE: Final = 4_000_000
TRACKS: Final = (h264_track(), aac_track())
#: What a read from a socket gives.
PIECE: Final = 16_384
SAMPLE: Final = Sample(seconds=20, size="1280x720", gop=50, video_kbps=3900)


def cost(work: Callable[[], object]) -> float:
    """Processor milliseconds that C{work}, on L{SECONDS} of media, takes for each."""
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best * 1000 / SECONDS


def frames() -> list[Frame]:
    """The stream."""
    return make_frames(SECONDS, video_bitrate=BITRATE - 96_000)


def segments(media: Sequence[Frame], ticks: int) -> list[list[Frame]]:
    """Cut where so many ticks are over."""
    found: list[list[Frame]] = [[]]
    for frame in media:
        if found[-1] and frame.track_id == 1 and frame.dts - found[-1][0].dts >= ticks:
            found.append([])
        found[-1].append(frame)
    return found


def pieces(data: bytes) -> Iterator[bytes]:
    """As a socket gives it."""
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


# -- in


def rtmp_bytes(media: Sequence[Frame]) -> bytes:
    """What a publisher sends, but for its handshake's answer."""
    client = ClientConnection(parse_url("rtmp://h/a/k"), Action.PUBLISH, bytes(NONCE))
    server = ServerConnection(bytes(NONCE))
    sent = bytearray()
    while not client.ready:
        out = client.data_to_send()
        sent += out
        for event in server.receive(out):
            if isinstance(event, PublishRequested):
                server.accept_publish(event.request)
        client.receive(server.data_to_send())
    client.configure(TRACKS)
    for frame in media:
        client.send(frame)
    return bytes(sent + client.data_to_send())


def rtmp_in(data: bytes) -> int:
    """Parse it to frames."""
    server, reader, count = ServerConnection(bytes(NONCE)), FlvToMedia(), 0
    for piece in pieces(data):
        for event in server.receive(piece):
            if isinstance(event, Audio | Video | Data):
                reader.take(event)
                count += 1
            elif isinstance(event, PublishRequested):
                server.accept_publish(event.request)
        server.data_to_send()
    return count


def ts_in(data: bytes) -> int:
    """Demultiplex it."""
    demux = TsDemux()
    return sum(len(demux.receive(piece)) for piece in pieces(data))


def rtp_in(packets: Sequence[tuple[int, bytes]]) -> int:
    """Put frames together of RTP packets."""
    found = sections_of(parse_sdp(describe("x", TRACKS)))
    receiver = RtpReceiver([(each.track_id, each.known) for each in found if each.known is not None])
    count = 0
    for number, (channel, packet) in enumerate(packets):
        if channel & 1:
            receiver.rtcp(channel >> 1, packet, number / 500)
        else:
            count += len(receiver.rtp(channel >> 1, packet, number / 500))
    return count


def m4f_in(data: bytes) -> None:
    """Unpack the records of a link."""
    reader = RecordReader()
    for piece in pieces(data):
        reader.receive(piece)


def cut(media: Sequence[Frame]) -> Any:
    """Cut a stream into segments and parts, and keep them in its window."""
    from test.live.rig import Origin

    origin = Origin(segment_duration=180_000, part_duration=18_000, tracks=TRACKS)
    ingest = origin.publish()
    origin.play(ingest, media)
    return origin


# -- out


def feed(muxer: Any, media: Sequence[Frame]) -> bytes:
    """All of C{media} for viewers that stay."""
    muxer.configure(TRACKS, START, False)
    return b"".join([muxer.mux(frame) for frame in media])


def cmaf(parts: Sequence[Sequence[Frame]], tracks: Sequence[Track]) -> int:
    """Fragments of every track."""
    size = 0
    for number, part in enumerate(parts):
        for track in tracks:
            own = [frame for frame in part if frame.track_id == track.track_id]
            if own:
                size += len(fragment(track, own, number, own[-1].dts + 1800))
    return size


def playlists(origin: Any) -> Callable[[], None]:
    """One answer of each manifest and playlist for each part of a second, as edges make them."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import Clock

    from restreamer.dash.routes import dash_routes
    from restreamer.hls.routes import hls_routes
    from restreamer.http1.reply import HttpRequest
    from test.dash.rig import OneStream

    point = OneStream(origin.stream)
    hls = hls_routes(point, mux_segment, Clock())
    dash = dash_routes(point, lambda: START)
    asked = [(hls, f"/x/tracks-{track}/mono.ll.m3u8") for track in ("v1", "a1")]
    asked += [(hls, "/x/index.ts.m3u8"), (dash, "/x/index.mpd")]

    def ask() -> None:
        for _ in range(5 * SECONDS):
            for route, path in asked:
                answer = route(HttpRequest(method="GET", path=path, query="", peer="192.0.2.1"))

                async def wait(answer: Any = answer) -> Any:
                    return await answer if hasattr(answer, "__await__") else answer

                found: list[Any] = []
                _ = Deferred.fromCoroutine(wait()).addBoth(found.append)
                if not found or getattr(found[0], "status", 0) != 200:
                    raise RuntimeError(f"{path}: {found}")

    return ask


def table() -> None:
    """Print every figure."""
    media = frames()
    ts = b"".join(mux_segment(TRACKS, each) for each in segments(media, 180_000))
    rtsp = RtspFeedMuxer("x")
    packets = split_frames(feed(rtsp, media))
    rtmp = rtmp_bytes(media)
    batches = [media[at : at + 3] for at in range(0, len(media), 3)]
    records = b"".join(encode_record(Frames(start=START, frames=each)) for each in batches)
    long, short = segments(media, 180_000), segments(media, 18_000)
    origin = cut(media)
    closed = [entry.segment for entry in origin.closed]
    found: dict[str, float] = {}

    def row(name: str, work: Callable[[], object]) -> None:
        found[name] = cost(work)
        print(f"{name:38} {found[name]:8.2f} ms/s {1000 / found[name]:8.0f} streams per core", flush=True)

    print(f"in ({BITRATE / 1e6:.0f} Mbit/s)")
    row("RTMP in", lambda: rtmp_in(rtmp))
    row("MPEG-TS", lambda: ts_in(ts))
    row("RTP (RTSP)", lambda: rtp_in(packets))
    row("M4F (a link's records)", lambda: m4f_in(records))
    row("cut: segments of 2 s, parts of 0.2 s", lambda: cut(media))
    print("out")
    row("MPEG-TS segment", lambda: [mux_segment(TRACKS, each) for each in long])
    row("CMAF segment", lambda: cmaf(long, TRACKS))
    row("CMAF parts", lambda: cmaf(short, TRACKS))
    row("part tables of segments", lambda: [cut_segment(each, track) for each in closed for track in TRACKS])
    row("playlists and manifest, 5 a second", playlists(origin))
    row("endless MPEG-TS", lambda: feed(MpegTsFeedMuxer("x"), media))
    row("RTMP", lambda: feed(RtmpFeedMuxer("x"), media))
    row("FLV", lambda: feed(FlvFeedMuxer("x"), media))
    row("RTSP", lambda: feed(RtspFeedMuxer("x"), media))
    row(
        "M4F (records to a link)",
        lambda: [encode_record(Frames(start=START, frames=each)) for each in batches],
    )
    both = sum(value for name, value in found.items() if name in _BOTH)
    told = f"{both:.2f} ms/s: {1000 / both:.0f} streams per core, sockets not counted"
    print(f"\nin by RTMP, out as HLS-TS and CMAF: {told}")


_BOTH: Final = ("RTMP in", "cut: segments of 2 s, parts of 0.2 s", "MPEG-TS segment", "CMAF segment")


def whole(streams: int, seconds: float) -> None:
    """A node with C{streams} of them, and on each a viewer of HLS with MPEG-TS and one of CMAF."""
    cores = sorted(os.sched_getaffinity(0))
    body = "template live { prefix live; input publish://; segment_duration 2; chunk_duration false; }"
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(node(cores[0], body))
        for number in range(streams):
            url = f"rtmp://127.0.0.1:{ours.rtmp}/live/{number}"
            stack.enter_context(publisher(url, SAMPLE, cores[1:] or cores, wait=0.1))
        name = f"/live/{streams - 1}/index.ts.m3u8"
        wait_until(lambda: get(ours.http, name).status == 200, 30.0, name)
        time.sleep(4.0)
        over = threading.Event()
        fetched = [0]
        for kind in ("ts", "fmp4"):
            thread = threading.Thread(target=_view, args=(ours, streams, kind, over, fetched), daemon=True)
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        time.sleep(4.0)
        begin, count, clock = _used(ours.pid), fetched[0], time.monotonic()
        time.sleep(seconds)
        used, clock = _used(ours.pid) - begin, time.monotonic() - clock
        rate = (fetched[0] - count) * 8 / clock / 1e6
        share = used / clock
        print(
            f"\na node with {streams} streams in by RTMP, each served as HLS-TS and CMAF "
            f"({rate:.0f} Mbit/s out): {share * 100:.0f} % of a core: {streams / share:.0f} streams per core"
        )


def _used(pid: int) -> float:
    """Processor seconds of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _view(server: Any, streams: int, kind: str, over: threading.Event, fetched: list[int]) -> None:
    """One viewer of each stream: every segment once, as soon as it is listed, about."""
    seen: dict[str, None] = {}
    while not over.is_set():
        began = time.monotonic()
        for number in range(streams):
            if over.is_set():
                return
            for path, text in media_playlists(server, f"/live/{number}/index.{kind}.m3u8").items():
                base = path.rpartition("/")[0]
                last = [line for line in text.splitlines() if line and not line.startswith("#")][-2:]
                for uri in last:
                    if f"{base}/{uri}" not in seen:
                        seen[f"{base}/{uri}"] = None
                        fetched[0] += len(get(server.http, f"{base}/{uri}").body)
        time.sleep(max(0.0, 2.0 - (time.monotonic() - began)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    table()
    if options.streams:
        whole(options.streams, options.seconds)


if __name__ == "__main__":
    main()
