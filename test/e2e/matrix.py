"""What the matrix of protocols is made of: samples, ways in, ways out.

Every way in publishes a file that is kept; every way out gives back the packets that came, with their times.
Readers share no code with the program: ffmpeg, or files put together from what playlists list.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from typing_extensions import override

from test.dash.rig import shown
from test.e2e.codec_samples import AUDIO, VIDEO, newer_ffmpeg
from test.e2e.elementary import Packets, hashed, hashing_command, read_packets
from test.e2e.nodes import Node, get
from test.e2e.players import HttpStream
from test.e2e.playlists import resolve
from test.e2e.samples import FFMPEG, cache_folder

#: Seconds of each sample; long enough that no way in reaches the end while it is recorded.
SECONDS: Final = 40
#: ffmpeg's names of codecs.
NAMES: Final = {"mpeg2": "mpeg2video", "ulaw": "pcm_mulaw", "alaw": "pcm_alaw"}
TS: Final = {"h264", "hevc", "mpeg2", "aac", "mp3", "mp2", "opus", "ac3", "eac3"}
CMAF: Final = {"h264", "hevc", "av1", "vp9", "aac", "mp3", "opus", "ac3", "eac3"}
LEGACY: Final = {"h264", "aac", "mp3", "ulaw", "alaw"}
ENHANCED: Final = LEGACY | {"hevc", "av1", "vp9", "opus", "ac3", "eac3"}
RTP: Final = {"h264", "hevc", "av1", "vp9", "aac", "opus", "mp3", "mp2", "ulaw", "alaw"}


@frozen
class Pair:
    """A picture and a sound, by the names of L{test.e2e.codec_samples}."""

    video: str
    audio: str

    @property
    def codecs(self) -> dict[str, str]:
        """ffmpeg's codec by stream specifier."""
        return {"v:0": NAMES.get(self.video, self.video), "a:0": NAMES.get(self.audio, self.audio)}

    def carried(self, codecs: set[str]) -> dict[str, str]:
        """The part of L{codecs} that a container of C{codecs} carries."""
        kinds = {"v:0": self.video, "a:0": self.audio}
        return {track: name for track, name in self.codecs.items() if kinds[track] in codecs}

    def file(self) -> Path:
        """The sample: a moving picture, and noise, so that no two packets are alike."""
        picture = f"testsrc2=size=320x180:rate=25:duration={SECONDS}"
        sound = f"anoisesrc=seed=7:sample_rate=48000:amplitude=0.3:duration={SECONDS}"
        command = [FFMPEG or "ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", picture]
        command += ["-f", "lavfi", "-i", sound, "-map", "0", "-map", "1"]
        command += ["-c:v", *VIDEO[self.video].replace("GOP", "25").split(), "-threads", "2"]
        command += ["-c:a", *AUDIO[self.audio].split()]
        # Without edit lists ffmpeg reads from it what others do.
        plain = self.audio not in ("ulaw", "alaw")
        command += ["-use_editlist", "0", "-movflags", "+faststart"] if plain else []
        command += ["-tag:v", "hvc1"] if self.video == "hevc" else []
        digest = hashlib.sha256(" ".join(command).encode()).hexdigest()[:12]
        suffix = "mp4" if plain else "mkv"
        path = cache_folder() / f"{digest}.{suffix}"
        if not path.exists():
            partial_path = path.with_name(f"{digest}.{os.getpid()}.partial.{suffix}")
            subprocess.run([*command, str(partial_path)], check=True, timeout=300)
            partial_path.rename(path)
        return path


# -- ways in


@define(eq=False)
class Sender:
    """A program that sends; ended by L{close}."""

    process: subprocess.Popen[bytes]
    log: Path

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def send(path: Path, log: Path, *output: str, ffmpeg: str | None = None) -> Sender:
    """An ffmpeg that sends C{path} in real time. @param output: options, then the place."""
    command = [ffmpeg or FFMPEG or "ffmpeg", "-v", "warning", "-nostdin", "-y", "-re", "-i", str(path)]
    command += ["-map", "0", "-c", "copy", *output]
    with log.open("wb") as errors:
        return Sender(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors), log)


class _QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that leave."""

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        pass


@define(eq=False)
class Folder:
    """A web server of a folder: where HLS is pulled from."""

    path: Path
    server: ThreadingHTTPServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        self.server = _QuietServer(("127.0.0.1", 0), partial(quiet, directory=str(self.path)))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()


# -- ways out


@frozen(kw_only=True)
class Place:
    """A stream on a node, where a way out is recorded.

    @ivar udp: bound to the port its packets are pushed to: a push waits when nobody listens.
    @ivar rtsp: the node's port. @ivar folder: for files.
    """

    node: Node
    rtsp: int
    udp: socket.socket
    stream: str
    pair: Pair
    folder: Path

    def path(self, suffix: str) -> Path:
        """A file of this recording."""
        return self.folder / f"{self.node.name}-{self.stream.replace('/', '-')}{suffix}"


def _body(node: Node, path: str) -> bytes:
    answer = get(node.http, path, timeout=10.0)
    if answer.status != 200:
        raise AssertionError(f"{node.name}: {path} answered {answer.status} {answer.body[:200]!r}")
    return answer.body


def media_playlists(node: Node, path: str) -> dict[str, str]:
    """The text of each media playlist that C{path} leads to, by its path: the first variant, and sound."""
    text = _body(node, path).decode()
    if "#EXT-X-STREAM-INF" not in text:
        return {path: text}
    uris = [line for line in text.splitlines() if line and not line.startswith("#")][:1]
    uris += [found[1] for found in re.finditer(r'#EXT-X-MEDIA:.*URI="([^"]+)"', text)]
    paths = [resolve(path, uri) for uri in uris]
    return {each: _body(node, each).decode() for each in paths}


def _uris(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#") and "gap" not in line]


def hls_ts(place: Place, seconds: float) -> dict[str, Packets]:
    """The segments that C{index.ts.m3u8} lists after so long, in one file."""
    time.sleep(seconds)
    found: dict[str, Packets] = {}
    for path, text in media_playlists(place.node, f"/{place.stream}/index.ts.m3u8").items():
        file = place.path(".hls.ts")
        file.write_bytes(b"".join(_body(place.node, resolve(path, uri)) for uri in _uris(text)))
        found |= read_packets(file, place.pair.carried(TS), adts=True)
    return found


def _track_of(path: str) -> str:
    """v:0 or a:0 by the name of the track at the end of a path."""
    return "v:0" if re.search(r"(?:^|tracks-)v1(?:/[^/]*)?$", path) else "a:0"


def _one_track(place: Place, data: bytes, path: str, suffix: str, rest: bool = False) -> dict[str, Packets]:
    codecs = place.pair.carried(CMAF)
    track = _track_of(path) if len(codecs) > 1 else next(iter(codecs))
    file = place.path(f"-{track[0]}{suffix}")
    file.write_bytes(data)
    return {track: read_packets(file, {f"{track[0]}:0": codecs[track]})[f"{track[0]}:0"]}


def hls_fmp4(place: Place, seconds: float) -> dict[str, Packets]:
    """The initialization and segments that C{index.fmp4.m3u8} lists after so long."""
    time.sleep(seconds)
    found: dict[str, Packets] = {}
    for path, text in media_playlists(place.node, f"/{place.stream}/index.fmp4.m3u8").items():
        (init,) = set(re.findall(r'#EXT-X-MAP:URI="([^"]+)"', text))
        data = b"".join(_body(place.node, resolve(path, uri)) for uri in (init, *_uris(text)))
        found |= _one_track(place, data, path, ".hls.mp4")
    return found


def ll_hls(place: Place, seconds: float) -> dict[str, Packets]:
    """The parts that C{index.ll.m3u8} lists, reloaded by blocking requests for so long."""
    found: dict[str, Packets] = {}
    until = time.monotonic() + seconds
    paths = media_playlists(place.node, f"/{place.stream}/index.ll.m3u8")
    parts: dict[str, dict[str, bytes]] = {path: {} for path in paths}
    inits: dict[str, str] = {}
    while time.monotonic() < until:
        for path, text in paths.items():
            inits[path] = re.findall(r'#EXT-X-MAP:URI="([^"]+)"', text)[0]
            for uri in re.findall(r'#EXT-X-PART:[^\n]*URI="([^"]+)"', text):
                if uri not in parts[path]:
                    parts[path][uri] = _body(place.node, resolve(path, uri))
        for path, text in paths.items():
            hint = re.search(r'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="[^"]*?(\d+)\.(\d+)\.m4s', text)
            query = f"{'&' if '?' in path else '?'}_HLS_msn={hint[1]}&_HLS_part={hint[2]}" if hint else ""
            paths[path] = _body(place.node, path + query).decode()
    for path, bodies in parts.items():
        data = _body(place.node, resolve(path, inits[path])) + b"".join(bodies.values())
        found |= _one_track(place, data, path, ".ll.mp4")
    return found


def dash(place: Place, seconds: float) -> dict[str, Packets]:
    """The files that C{index.mpd} lists after so long."""
    time.sleep(seconds)
    found: dict[str, Packets] = {}
    for each in shown(_body(place.node, f"/{place.stream}/index.mpd").decode()):
        media = each.media.replace("$RepresentationID$", each.name)
        init = each.init.replace("$RepresentationID$", each.name)
        names = [init, *(media.replace("$Number$", str(number)) for number, _, _ in each.lines)]
        data = b"".join(_body(place.node, f"/{place.stream}/{name}") for name in names)
        found |= _one_track(place, data, each.name, ".dash.mp4")
    return found


def _body_for(place: Place, name: str, seconds: float) -> bytes:
    with HttpStream(place.node.http, f"/{place.stream}/{name}") as body:
        if body.status != 200:
            raise AssertionError(f"{place.node.name}: {place.stream}/{name} answered {body.head!r}")
        return body.read_for(seconds)


def http_ts(place: Place, seconds: float) -> dict[str, Packets]:
    """Endless MPEG-TS for so long."""
    data = _body_for(place, "mpegts", seconds)
    file = place.path(".http.ts")
    file.write_bytes(data[: len(data) - len(data) % 188])
    return _without_last(read_packets(file, place.pair.carried(TS), adts=True))


def http_flv(place: Place, seconds: float) -> dict[str, Packets]:
    """Endless FLV for so long."""
    file = place.path(".flv")
    file.write_bytes(_body_for(place, "live.flv", seconds))
    return _without_last(read_packets(file, place.pair.carried(ENHANCED if newer_ffmpeg() else LEGACY)))


def udp_ts(place: Place, seconds: float) -> dict[str, Packets]:
    """The datagrams that are pushed within so long."""
    data = bytearray()
    receiver = place.udp
    receiver.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(2048):
            pass
    receiver.settimeout(0.2)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(TimeoutError):
            data += receiver.recv(2048)
    file = place.path(".udp.ts")
    file.write_bytes(data)
    return _without_last(read_packets(file, place.pair.carried(TS), adts=True))


def _without_last(found: dict[str, Packets]) -> dict[str, Packets]:
    """Without the packet of each track that a recording cuts through."""
    return {track: packets[:-1] for track, packets in found.items()}


def _played(url: str, codecs: Mapping[str, str], seconds: float, *options: str) -> dict[str, Packets]:
    # It waits long for a track that is announced and not carried, or that it cannot read.
    command = hashing_command(url, codecs, options=(*options, "-analyzeduration", "1000000"))
    player = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        player.wait(seconds + 1.5)
    except subprocess.TimeoutExpired:
        player.terminate()
    try:
        output, errors = player.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        player.kill()
        output, errors = player.communicate()
    found = hashed(output.decode(), codecs)
    if not all(found.values()):
        raise AssertionError(f"ffmpeg did not play {url}: {errors.decode(errors='replace')[-1000:]}")
    return found


def rtmp(place: Place, seconds: float) -> dict[str, Packets]:
    """ffmpeg plays it; a new one says that it knows the newer codecs."""
    newer = newer_ffmpeg()
    options = ["-rw_timeout", "10000000"]
    if newer:
        options += ["-rtmp_enhanced_codecs", "hvc1,av01,vp09,Opus,ac-3,ec-3"]
    codecs = place.pair.carried(ENHANCED if newer else LEGACY)
    return _played(f"rtmp://127.0.0.1:{place.node.rtmp}/{place.stream}", codecs, seconds, *options)


def rtsp(place: Place, seconds: float, transport: str = "tcp") -> dict[str, Packets]:
    """ffmpeg plays it by TCP or UDP, but for the first packet of each track: it knows no time for that."""
    codecs = place.pair.carried(WAYS_OUT[f"rtsp-{transport}"].codecs)
    url = f"rtsp://127.0.0.1:{place.rtsp}/{place.stream}"
    found = _played(url, codecs, seconds, "-rtsp_transport", transport)
    return {track: packets[1:] for track, packets in found.items()}


#: A way out: what it carries, how it is recorded.
Recorder = Callable[[Place, float], dict[str, Packets]]


@frozen
class WayOut:
    """@ivar codecs: what the container can carry. @ivar record: gives what came.

    @ivar rounded: its times are whole milliseconds. @ivar apart: ticks its tracks may lie apart, beside that.
    """

    codecs: set[str]
    record: Recorder
    rounded: bool = False
    apart: int = 0


WAYS_OUT: Final[dict[str, WayOut]] = {
    "hls-ts": WayOut(TS, hls_ts),
    "hls-fmp4": WayOut(CMAF, hls_fmp4),
    "ll-hls": WayOut(CMAF, ll_hls),
    "dash": WayOut(CMAF, dash),
    "http-ts": WayOut(TS, http_ts),
    "udp-ts": WayOut(TS, udp_ts),
    "rtmp": WayOut(ENHANCED if newer_ffmpeg() else LEGACY, rtmp, rounded=True),
    "http-flv": WayOut(ENHANCED if newer_ffmpeg() else LEGACY, http_flv, rounded=True),
    "rtsp-tcp": WayOut(RTP if newer_ffmpeg() else RTP - {"av1"}, rtsp, apart=90),
    # ffmpeg loses AV1 by UDP, of which every packet arrives.
    "rtsp-udp": WayOut(RTP - {"av1"}, partial(rtsp, transport="udp"), apart=90),
}


def ways_for(pair: Pair) -> Sequence[str]:
    """The ways out that carry something of C{pair}."""
    return [name for name, way in WAYS_OUT.items() if pair.carried(way.codecs)]
